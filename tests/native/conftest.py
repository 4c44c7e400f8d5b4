"""The native learning, built once, by whichever of the test processes comes first."""

from __future__ import annotations

import os

import pytest
from filelock import FileLock
from native_learn import Native, build


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "learn.lock"):
        return Native(build(folder / "learn"))
