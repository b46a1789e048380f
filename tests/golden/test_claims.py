"""Every reference vector is used: a file that no test names is a promise that nobody checks.

A file `<method>/<name>` is claimed when a test module in this folder is of its method (its own name says so,
`test_<method>...`, or a string literal in it) and has a string literal that is a pattern matching the file. Patterns
that match anything, such as `*.npz`, claim nothing. Methods whose code does not exist yet are not asked about, except
for files that lie in this folder.
"""

import ast
import fnmatch
from pathlib import Path

HERE = Path(__file__).parent
IGNORED = {"README.md"}
METHODS = HERE.parents[1] / "pose_models" / "methods"
COMPLETE = {"bop", *(path.name.replace("_", "-") for path in METHODS.iterdir() if (path / "infer.py").exists())}


def literals(module: Path) -> set[str]:
    """String literals of a Python file and the method in its name; placeholders of f-strings become `*`."""
    found = {module.stem.split("_")[1]}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        if isinstance(node, ast.JoinedStr):
            found.add("".join(str(v.value) if isinstance(v, ast.Constant) else "*" for v in node.values))
    return found


def is_claimed(method: str, name: str, modules: list[set[str]]) -> bool:
    """Whether a module names the method and a pattern of its own for the file."""
    for strings in modules:
        patterns = {s.removeprefix(f"{method}/") for s in strings if Path(s).stem.strip("*?")}
        names_method = method in strings or any(s.startswith(f"{method}/") for s in strings)
        if names_method and any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            return True
    return False


def test_every_reference_vector_is_claimed_by_a_test(golden_dir):
    modules = [literals(path) for path in HERE.glob("test_*.py") if path.name != Path(__file__).name]
    unclaimed = [
        f"{folder.name}/{file.name}"
        for folder in [*HERE.iterdir(), *(golden_dir / name for name in COMPLETE)]
        if folder.is_dir() and not folder.name.startswith("__")
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name not in IGNORED and not is_claimed(folder.name, file.name, modules)
    ]
    assert not unclaimed, f"no test uses {', '.join(unclaimed)}"


def test_broad_patterns_claim_nothing():
    assert not is_claimed("bop", "new.npz", [{"bop", "*.npz"}])
    assert is_claimed("bop", "new.npz", [{"bop", "new*.npz"}])
    assert not is_claimed("bop", "new.npz", [{"new*.npz"}])
