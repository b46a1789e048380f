"""Every reference vector is used: a file that no test names is a promise that nobody checks.

A file `<method>/<name>` is claimed when a test module in this folder names its method and a pattern that matches it,
both as string literals. Patterns that match anything, such as `*.npz`, claim nothing. Methods whose vectors have not
been copied to this folder (their code does not exist yet) are not asked about.
"""

import ast
import fnmatch
from pathlib import Path

HERE = Path(__file__).parent
IGNORED = {"README.md"}


def literals(module: Path) -> set[str]:
    """String literals of a Python file; placeholders of f-strings become `*`."""
    found = set()
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
        for folder in sorted(HERE.iterdir())
        if folder.is_dir() and (golden_dir / folder.name).is_dir()
        for file in sorted((golden_dir / folder.name).iterdir())
        if file.is_file() and file.name not in IGNORED and not is_claimed(folder.name, file.name, modules)
    ]
    assert not unclaimed, f"no test uses {', '.join(unclaimed)}"


def test_broad_patterns_claim_nothing():
    assert not is_claimed("bop", "new.npz", [{"bop", "*.npz"}])
    assert is_claimed("bop", "new.npz", [{"bop", "new*.npz"}])
    assert not is_claimed("bop", "new.npz", [{"new*.npz"}])
