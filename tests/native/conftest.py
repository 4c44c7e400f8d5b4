"""The native learning, built once."""

from __future__ import annotations

import pytest
from native_learn import Native, build


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native(build(tmp_path_factory.mktemp("native") / "learn"))
