"""Blender from its Python wheel, called as if it were the Blender executable.

blenderproc calls `blender --background ... --python SCRIPT -- SCRIPT TEMPDIR ARGUMENTS...`; this imports bpy and runs
the script as `__main__`, with `sys.argv` as it was given.
"""

import os
import runpy
import sys
import traceback
from types import SimpleNamespace
from typing import Any


class AlreadyEnglish:
    """`bpy` for the one module that sets the interface language, which the wheel, built without translations, refuses.

    The language reads as if it were set already; everything else is bpy's own.
    """

    def __init__(self, bpy: Any) -> None:
        self._bpy = bpy
        self.context = _Context(bpy)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bpy, name)


class _Context:
    preferences = SimpleNamespace(view=SimpleNamespace(language="en_US"))

    def __init__(self, bpy: Any) -> None:
        self._bpy = bpy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bpy.context, name)


def main() -> None:
    """Prepare blenderproc's initialisation, then run the script."""
    script = sys.argv[sys.argv.index("--python") + 1]
    # Where `blenderproc run` says that it lies: after this environment's own packages, for others lie beside it.
    # blenderproc takes the folder out again when it is imported.
    calling = os.environ["PYTHONPATH"]
    sys.path[:] = [*(path for path in sys.path if path != calling), calling]
    import bpy
    from blenderproc.python.utility import Initializer

    Initializer.bpy = AlreadyEnglish(bpy)
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking bpy down with the interpreter ends in a segmentation fault now and then


if __name__ == "__main__":
    main()
