"""The house (docs/architecture.md): rooms import only from rooms above them, and none of them knows Snakemake."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pose_models"
ROOMS = [
    *("files", "program", "settings", "memory", "compiled"),
    *("geometry", "meshes", "datasets", "render", "images", "synthesis", "training", "detections", "methods"),
    *("refinement", "multiview", "evaluation", "report", "workflow"),
]
FORBIDDEN = {
    "snakemake": "rules call programs, never the other way round",
    "pymeshlab": "GPL: only remesh.py and make_eval_models.py may",
}
MODULES = sorted(PACKAGE.rglob("*.py"))
CONFIG_MAY_IMPORT = {"__future__", "typing", "pydantic", "collections", "pathlib", "re", "math", "enum", "dataclasses"}


def imports(module: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module, from its dotted parts below pose_models."""
    return parts[0].removesuffix(".py")


def module_id(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", [m for m in MODULES if m != PACKAGE / "__init__.py"], ids=module_id)
def test_a_room_imports_only_from_rooms_above(module: Path) -> None:
    parts = module.relative_to(PACKAGE).parts
    for name in imports(module):
        if not name.startswith("pose_models."):
            continue
        other = tuple(name.split(".")[1:])
        assert ROOMS.index(room_of(other)) <= ROOMS.index(room_of(parts)), f"{module} imports {name}"
        if (
            len(parts) > 2
            and len(other) > 1
            and parts[0] == other[0] == "methods"
            and (PACKAGE / "methods" / other[1]).is_dir()
        ):
            assert other[1] == parts[1], f"{module} imports from another method: {name}"


@pytest.mark.parametrize("module", MODULES, ids=module_id)
def test_nothing_forbidden_is_imported(module: Path) -> None:
    for name in imports(module):
        top = name.split(".")[0]
        assert top not in FORBIDDEN, f"{module} imports {top}: {FORBIDDEN.get(top)}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.stem == "config"], ids=module_id)
def test_settings_import_nothing_heavy(module: Path) -> None:
    for name in imports(module):
        top = name.split(".")[0]
        assert top in CONFIG_MAY_IMPORT or name.endswith((".config", ".Settings", "Settings")), f"{module}: {name}"


def test_describing_the_workflow_loads_neither_torch_nor_opencv() -> None:
    script = (
        "import sys, pose_models.workflow; print([m for m in ('torch', 'cv2', 'trimesh', 'numba') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
