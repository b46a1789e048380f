"""Compiled loops that start at once.

Numba compiles a kernel, but importing numba costs a second or two even when everything is in its cache, which is more
than most evaluations need altogether. So the machine code of each kernel is kept in `__pycache__` beside its module
and loaded through llvmlite alone; numba is imported only where a kernel has never been compiled on this kind of
processor. `python -m pose_models.compiled` compiles all ahead of use.

A kernel is a plain function of pointers and numbers. It views memory through `carray(pointer, shape)`, allocates
nothing and raises nothing; the typed function around it checks, allocates and calls. Functions of a C library that a
kernel calls are declared as `Foreign`. The key of a cached kernel is its byte code, its signature, the versions of
Python, numba and llvmlite, and the processor.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import importlib
import platform
import sys
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.files import write_bytes

_CTYPES = {"f8": ctypes.c_double, "i8": ctypes.c_int64, "p": ctypes.c_void_p, "void": None}
_NUMBA = {"f8": "float64", "i8": "int64", "void": "void"}
_engines: list[Any] = []  # own the loaded code
_registry: list[Kernel] = []


def carray(pointer: Any, shape: Any) -> Any:
    """In a kernel: the array of the given shape at a pointer."""
    raise NotImplementedError("only inside a compiled kernel")


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A function of a C library that kernels may call by its name, without a result.

    arguments: their number; all are pointers, and i8 to the kernel. address: finds it when it is first needed.
    """

    name: str
    arguments: int
    address: Callable[[], int]


class Kernel:
    """A compiled function; arrays are handed over as pointers, so they must be contiguous and of the right type."""

    def __init__(
        self, function: Callable[..., Any], result: str, arguments: tuple[str, ...], foreign: tuple[Foreign, ...] = ()
    ) -> None:
        self.function, self.result, self.arguments, self.foreign = function, result, arguments, foreign
        self._call: Callable[..., Any] | None = None
        _registry.append(self)

    def __call__(self, *values: Any) -> Any:
        if self._call is None:
            self._call = self._load()
        return self._call(*[value.ctypes.data if isinstance(value, np.ndarray) else value for value in values])

    def compile(self) -> None:
        """Make sure that the kernel is compiled and cached."""
        self._call = self._load()

    def _load(self) -> Callable[..., Any]:
        kinds: list[Any] = [_CTYPES["p" if kind.endswith("*") else kind] for kind in self.arguments]
        prototype = ctypes.CFUNCTYPE(_CTYPES[self.result], *kinds)
        if self.foreign:
            import llvmlite.binding as llvm

            for callee in self.foreign:
                llvm.add_symbol(callee.name, callee.address())
        path = self._path()
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            return prototype(_load_object(path.read_bytes()))
        compiled, code = self._compile()
        with contextlib.suppress(OSError):  # a read-only checkout compiles every time
            write_bytes(path, code)
        _engines.append(compiled)
        return prototype(compiled.address)

    def _path(self) -> Path:
        code = self.function.__code__
        key = [
            code.co_code,
            code.co_consts,
            code.co_names,
            self.result,
            self.arguments,
            *_surroundings(),
        ]
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        source = Path(code.co_filename)
        return source.parent / "__pycache__" / f"{source.stem}.{self.function.__name__}.{digest}.kernel"

    def _compile(self) -> tuple[Any, bytes]:
        """Numba's function object and the machine code preceded by the name of its entry."""
        import numba

        names: dict[str, Any] = {"np": np, "carray": numba.carray}
        for callee in self.foreign:
            signature = numba.void(*[numba.int64] * callee.arguments)
            names[callee.name] = numba.types.ExternalFunction(callee.name, signature)
        function = types.FunctionType(self.function.__code__, names)
        kinds = [f"CPointer({numba_name(k[:-1])})" if k.endswith("*") else _NUMBA[k] for k in self.arguments]
        compiled = numba.cfunc(f"{_NUMBA[self.result]}({', '.join(kinds)})", error_model="numpy")(function)
        code = compiled._library._get_compiled_object()
        return compiled, compiled._wrapper_name.encode() + b"\n" + code


def numba_name(kind: str) -> str:
    """Numba's name of an element type such as f4."""
    return {"f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "u1": "uint8"}[kind]


def kernel(result: str, *arguments: str, foreign: tuple[Foreign, ...] = ()) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel: types f8, i8, or pointers f4*, f8*, i4*, i8*, u1* (also for bool)."""
    return lambda function: Kernel(function, result, arguments, foreign)


def compile_all() -> list[str]:
    """Compile the kernels of all modules of the package; returns their names."""
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path != Path(__file__) and "\n@kernel(" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join([package.name, *path.relative_to(package).with_suffix("").parts]))
    for item in _registry:
        item.compile()
    return [item.function.__name__ for item in _registry]


def contiguous(array: NDArray[Any]) -> NDArray[np.float64]:
    """The array as a kernel takes it: float64, C order."""
    return np.ascontiguousarray(array, dtype=np.float64)


@functools.cache
def _surroundings() -> list[Any]:
    """All but the kernel itself that machine code depends on."""
    import llvmlite.binding as llvm

    versions = [sys.version, platform.machine(), version("numba"), version("llvmlite")]
    return [*versions, llvm.get_host_cpu_name(), sorted(_cpu_features(llvm))]


def _cpu_features(llvm: Any) -> list[str]:
    try:
        return [name for name, there in llvm.get_host_cpu_features().items() if there]
    except RuntimeError:
        return []


def _load_object(content: bytes) -> int:
    """Address of the entry of cached machine code; the code stays loaded."""
    import llvmlite.binding as llvm

    name, _, code = content.partition(b"\n")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # What numba's wrapper refers to. Only the lock of the interpreter is ever used; kernels allocate nothing.
    api = ctypes.pythonapi
    for symbol, function in (
        ("numba_gil_ensure", api.PyGILState_Ensure),
        ("numba_gil_release", api.PyGILState_Release),
        ("NRT_MemInfo_call_dtor", api.PyErr_Clear),
    ):
        llvm.add_symbol(symbol, ctypes.cast(function, ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(name.decode())
    if not address:
        raise ValueError("no entry in cached machine code")
    _engines.append(engine)
    return int(address)


if __name__ == "__main__":
    from pose_models import compiled  # kernels register with the module, not with this script

    print("compiled: " + ", ".join(compiled.compile_all()))
