"""A shared base and the stores of its users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sharing import adapter

from dsa_edge.runtime import Personalizer, SharedBase


@pytest.fixture(scope="module")
def stores(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of users 0 … 4; each has learned something else, the last one nothing. Read only."""
    folder = tmp_path_factory.mktemp("stores")
    for number in range(4):
        with Personalizer.open(bundle, folder / str(number)) as me:
            me.use_adapter(adapter(bundle, number))
    return [folder / str(number) for number in range(5)]


@pytest.fixture
def base(bundle: Path) -> Iterator[SharedBase]:
    with SharedBase.open(bundle) as made:
        yield made
