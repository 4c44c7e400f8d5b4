"""The compiled kernels: where they lie, building them, loading them.

They are optional. `pip install` builds them when CMake and a C++ compiler are there; `build` does
the same later, for instance once ExecuTorch is installed, whose op needs its headers.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dsa_edge.errors import EngineError

__all__ = [
    "ABI",
    "FOLDER",
    "LIBRARIES",
    "STANDARD",
    "build",
    "executorch_root",
    "instruction_set",
    "library",
    "library_path",
]

ABI = 5  # must match kAbi in native/core/gated_lowrank.h
LIBRARIES = {
    "dsa_kernels": "the kernels for numpy and torch",
    "dsa_onnxruntime": "the kernels for ONNX Runtime",
    "dsa_executorch": "the kernels for ExecuTorch",
}
STANDARD = "standard operators"  # what runs the adapter where no kernel is built
FOLDER = Path(__file__).parent / "lib"
SOURCES = Path(__file__).parent / "native"
_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


def library_path(name: str) -> Path | None:
    """The file of a compiled library, or None when it has not been built."""
    path = FOLDER / f"lib{name}{_SUFFIX}"
    return path if path.is_file() else None


def library(name: str) -> ctypes.CDLL:
    """Load a compiled library.

    Raises EngineError when it is missing, of another machine or of another version.
    """
    path = library_path(name)
    if path is None:
        raise EngineError(
            f"{LIBRARIES[name]} are not built: run `dsa-edge doctor --build`, which needs CMake "
            "and a C++ compiler."
        )
    try:
        loaded = ctypes.CDLL(str(path))
        loaded.dsa_abi.restype = ctypes.c_int64
        version = loaded.dsa_abi()
    except (OSError, AttributeError) as error:
        raise EngineError(
            f"{path} cannot be loaded ({error}): it was built for another machine or engine; "
            "run `dsa-edge doctor --build`."
        ) from error
    if version != ABI:
        raise EngineError(
            f"{path} has interface version {version}, expected {ABI}: run `dsa-edge doctor "
            "--build`."
        )
    return loaded


def instruction_set() -> str:
    """What the compiled kernels use on this machine: avx512, avx2, neon or baseline."""
    loaded = library("dsa_kernels")
    loaded.dsa_best_isa.restype = ctypes.c_char_p
    name: bytes = loaded.dsa_best_isa()
    return name.decode()


def build(folder: Path, executorch: Path | None, options: Sequence[str] = ()) -> list[Path]:
    """Compile the kernels into `folder` and return the libraries.

    executorch: folder of the installed executorch package; None builds no ops for it.
    options: more for CMake's configuration.
    Raises EngineError with the compiler's last words when that fails.
    """
    cmake = shutil.which("cmake")
    if cmake is None:
        raise EngineError("CMake is not installed: run `pip install cmake` and try again.")
    with tempfile.TemporaryDirectory() as made:
        root = f"-DEXECUTORCH_ROOT={executorch or ''}"
        _call(cmake, "-S", str(SOURCES), "-B", made, root, *options)
        _call(cmake, "--build", made, "--parallel", "2")
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"libdsa_*{_SUFFIX}"):
            old.unlink()
        return [_moved(path, folder) for path in sorted(Path(made).glob(f"libdsa_*{_SUFFIX}"))]


def executorch_root(packages: Path | None = None) -> Path | None:
    """The executorch package's folder, found without importing it; None where it has no headers.

    packages: a folder of packages to look in; None looks where Python does.
    """
    spec = None if packages else importlib.util.find_spec("executorch")
    places = [packages / "executorch"] if packages else []
    places += [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return next((place for place in places if (place / "include").is_dir()), None)


def _moved(path: Path, folder: Path) -> Path:
    """Put a library in place whole: a process may be about to load it."""
    partial = folder / f".{path.name}.partial"
    shutil.copyfile(path, partial)
    return partial.replace(folder / path.name)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        first = next((at for at, line in enumerate(lines) if "rror" in line), 0)
        why = " ".join(lines[first : first + 2])  # CMake gives the place, then the reason
        raise EngineError(
            f"building the kernels failed ({why[:300]}): install "
            "a C++17 compiler (GCC 9, Clang 10 or newer); everything runs without them, slower."
        )
