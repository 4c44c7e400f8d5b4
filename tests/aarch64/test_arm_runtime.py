"""The Python runtime on aarch64: NumPy, tokenizers and ONNX Runtime's wheel, with our kernels.

The same case on the host and under the emulator. Losses differ in the last digits, as every
processor adds in another order; what a journal says does not, to the bit.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import device_case
import numpy as np
import pytest
from machines import PROCESSORS, ROOT, Machine, call

CASE = Path(device_case.__file__)
# Half a minute for each; the quick run has one of them.
SOME_SLOW = [
    processor if processor == "cortex-a76" else pytest.param(processor, marks=pytest.mark.slow)
    for processor in PROCESSORS
]


@pytest.fixture(scope="module")
def packages(fetched: Path, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dsa_edge as installed on a board: our Python files and kernels of its processor."""
    tree = tmp_path_factory.mktemp("board") / "dsa_edge"
    tree.mkdir()
    for entry in (ROOT / "dsa_edge").iterdir():
        (tree / entry.name).symlink_to(entry)
    (tree / "runtime").symlink_to(ROOT / "runtime")
    kernels = tree / "kernels"
    shutil.copytree(ROOT / "kernels", kernels, ignore=shutil.ignore_patterns("lib", "native"))
    (kernels / "lib").mkdir()
    for library in (built / "kernels").glob("libdsa_*.so"):
        shutil.copy(library, kernels / "lib")
    return tree.parent


@pytest.fixture(scope="module")
def here(both: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The case on this machine, and where its store is."""
    store = tmp_path_factory.mktemp("here") / "me"
    told = subprocess.run(
        [sys.executable, CASE, both, store], capture_output=True, text=True, check=True
    )
    return {**json.loads(told.stdout), "store": store}


def on_board(processor: str, packages: str, fetched: Path, *words: Path) -> dict[str, Any]:
    """The case on a processor; packages: folders that Python looks into, as PYTHONPATH."""
    program = fetched / "root" / "usr" / "bin" / "python3.11"
    command = Machine(processor).command(program, CASE, *words)
    return dict(json.loads(call(*command, PYTHONPATH=packages, PYTHONDONTWRITEBYTECODE="1")))


@pytest.mark.parametrize("processor", SOME_SLOW)
def test_a_board_learns_as_the_host_does(
    processor: str, packages: Path, fetched: Path, both: Path, here: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    path = f"{packages}:{fetched / 'site'}"
    board = on_board(processor, path, fetched, both, tmp_path / "me", here["store"])
    assert_learned_as(here, board, both, tmp_path / "me")


@pytest.mark.slow
def test_a_board_learns_on_the_onnxruntime_that_jetpack_6_can_have(
    packages: Path, fetched: Path, both: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    """The last ONNX Runtime and NumPy for Python 3.10; what runs them here is Python 3.11."""
    path = f"{packages}:{fetched / 'jetpack'}:{fetched / 'site'}"
    board = on_board("cortex-a76", path, fetched, both, tmp_path / "me", here["store"])
    assert board["onnxruntime"].startswith("1.23.")
    assert_learned_as(here, board, both, tmp_path / "me")


def assert_learned_as(here: dict[str, Any], board: dict[str, Any], both: Path, store: Path) -> None:
    assert board["machine"] == "aarch64"
    assert board["engine"] == {"backend": "onnx", "kernels": "neon"}
    assert board["verdict"] == here["verdict"]
    assert board["text"] == here["text"]
    for name in ("before", "after", "losses"):
        np.testing.assert_allclose(board[name], here[name], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(board["slopes"][0], here["slopes"][0], atol=1e-3)
    # Each rebuilds what both have learned, to the bit.
    assert board["replayed"][1] == here["replayed"][0]
    assert board["replayed"][0] == device_case.replayed(str(both), str(store))
    assert len(set(board["replayed"][0])) == device_case.STEPS + 1
