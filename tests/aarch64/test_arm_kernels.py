"""The kernels' own C++ tests, cross-built, under an emulator of each processor."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import PROCESSORS, call


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_kernels_compute_what_plain_loops_do(built: Path, processor: str) -> None:
    told = call("ctest", "--test-dir", built, "--verbose", QEMU_CPU=processor)
    assert told.count("best instruction set: neon; 0 failed") == 3, told
    assert "100% tests passed" in told
