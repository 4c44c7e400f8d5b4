"""The C++ kernels under sanitizers. On 64-bit ARM: `tests/aarch64`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dsa_edge.errors import EngineError
from dsa_edge.kernels import library

cmake = shutil.which("cmake") or ""
needs_compiler = pytest.mark.skipif(
    not cmake or shutil.which("c++") is None, reason="no CMake or no C++ compiler"
)
TESTS = tuple(
    f"test_{name}"
    for name in ("add_offsets", "attend", "attend_cache", "gated_lowrank", "lane_linear")
)


def build(folder: Path, *options: str) -> None:
    for command in (
        [cmake, "-S", str(library.SOURCES), "-B", str(folder), "-DDSA_TESTS=ON", *options],
        [cmake, "--build", str(folder), "--parallel", "2", "--target", *TESTS],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "warning" not in done.stderr


@needs_compiler
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    build(tmp_path, "-DDSA_SANITIZE=address,undefined", "-DCMAKE_BUILD_TYPE=Debug")
    for name in TESTS:
        done = subprocess.run([tmp_path / name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]
        assert "0 failed" in done.stdout


@needs_compiler
def test_the_libraries_build_and_load_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "FOLDER", tmp_path / "lib")
    with pytest.raises(EngineError, match="not built: run `dsa-edge doctor --build`"):
        library.library("dsa_kernels")
    made = library.build(tmp_path / "lib", None)
    assert "libdsa_onnxruntime.so" in {path.name for path in made}
    assert library.instruction_set() in ("avx512", "avx2", "neon", "baseline")


def test_a_library_of_another_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    (tmp_path / "libdsa_kernels.so").write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(EngineError, match="cannot be loaded .* another machine or engine; run"):
        library.library("dsa_kernels")


@needs_compiler
def test_a_library_of_another_interface_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "old.cpp"
    source.write_text('extern "C" long dsa_abi() { return 99; }')
    made = tmp_path / "libdsa_kernels.so"
    subprocess.run(["c++", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    with pytest.raises(EngineError, match=f"interface version 99, expected {library.ABI}: run"):
        library.library("dsa_kernels")


@needs_compiler
def test_a_compiler_that_fails_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "SOURCES", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text("message(FATAL_ERROR broken)")
    with pytest.raises(EngineError, match="building the kernels failed .*everything runs without"):
        library.build(tmp_path / "lib", None)
