"""The start as a file: where rounds begin, and what each of them leaves."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np

from dsa_edge.adapter import load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated._local import check_bundle
from dsa_edge.runtime.federated._round import Round
from dsa_edge.start import DIRECTIONS, Start, load_directions, load_start, save_start

__all__ = ["StartFile"]


class StartFile:
    """The start that a server writes for `export --start`; rounds go on from it if it is there.

    manifest: of the bundle. first: the adapter (n,) that rounds begin with. asked: what they ask
    for, by default what suits choices, along directions that nobody knows before.
    Raises BundleError, AdapterError for a file of another bundle, and FederationError for a round
    that is about another, or for a bundle of several blocks.
    """

    def __init__(self, bundle: str | Path, file: str | Path, asked: Round | None) -> None:
        self.manifest = Bundle.open(bundle, check_hashes=False).manifest
        suited = Round.suited(self.manifest.identity)
        self.asked = asked or replace(suited, seed=secrets.randbits(63))
        check_bundle(self.manifest, self.asked)
        self._file = Path(file)
        self._start = self._begun() if self._file.is_file() else self._of_bundle(Path(bundle))
        self.first = self._start.vector

    def save(self, number: int, vector: Floats) -> None:
        """Write the start (n,) after a round, whole or not at all."""
        save_start(self._file, replace(self._start, vector=vector))

    def _begun(self) -> Start:
        found, own = load_start(self._file), self.manifest
        found.check_spec(own.adapter, own.base.sha256, own.adapter_size)
        found.check(own.identity)
        return found

    def _of_bundle(self, folder: Path) -> Start:
        """Where the bundle's users begin, and its directions; rounds do not count users."""
        own, told = self.manifest, self.manifest.start
        size, count = own.adapter_size, told.directions if told else 0
        directions = np.zeros((0, size), dtype=np.float16)
        if count:
            directions = load_directions(folder / DIRECTIONS, count, size)
        begun = load_adapter(folder / "adapter.safetensors", own.identity, size, own.pruned)
        users = told.users if told else 0
        return Start(
            begun.vector, directions, own.identity, own.adapter, own.base.sha256, users
        )  # fmt: skip
