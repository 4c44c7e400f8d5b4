"""Tools for 64-bit ARM: what `make test-aarch64` fetched, and what is built from it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent))  # for `from machines import …`
sys.path.insert(0, str(Path(__file__).parents[1] / "native"))  # for `from native_learn import …`

from machines import FETCHED, cross_built, executorch, script


@pytest.fixture(scope="session")
def fetched() -> Path:
    """The folder of unpacked tools."""
    if not (FETCHED / "site" / ".done").is_file():
        pytest.skip("no emulator and no libraries for 64-bit ARM: run `make test-aarch64`")
    return FETCHED


@pytest.fixture(scope="session")
def built(fetched: Path) -> Path:
    """Our kernels, their tests and the server of programs, cross-built."""
    return cross_built("tests/aarch64", "tests", f"-DEXECUTORCH_ROOT={executorch()}")


@pytest.fixture(scope="session")
def learning(fetched: Path) -> Path:
    """The C++ learning, its tests and the tool that tests/native drives, cross-built."""
    return cross_built("runtime/native/learn", "learn", "-DDSA_TESTS=ON")


@pytest.fixture(scope="session")
def native(fetched: Path) -> Path:
    """The native runner, library and program, cross-built."""
    return cross_built("runtime/native", "native", f"-DEXECUTORCH_ROOT={executorch()}")


@pytest.fixture(scope="session")
def android(fetched: Path) -> Path:
    """Android's ExecuTorch library with our kernels, to be run under glibc."""
    with FileLock(fetched / "lock"):
        script("android.sh")
    return fetched / "android"


@pytest.fixture(scope="session")
def android_runner(android: Path, fetched: Path) -> Path:
    """The native runner on that library."""
    with FileLock(fetched / "lock"):
        script("android.sh", "runner")
    return android / "native" / "dsa_runner"


@pytest.fixture(scope="session")
def both(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama for both engines, activations of ONNX Runtime in float32. Read only."""
    pytest.importorskip("executorch", reason="ExecuTorch is not installed")
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("aarch64") / "tiny.dsa"
    backends = ("onnx", "executorch")
    export(tiny_checkpoint("llama"), path, backends, accuracy_level=0, check=False)
    return path
