"""The start as a file: where rounds begin, and what each of them leaves."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

from dsa_edge.adapter import Adapter, load_adapter, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated._local import check_bundle
from dsa_edge.runtime.federated._round import Round

__all__ = ["StartFile"]


class StartFile:
    """The adapter file that a server writes; if it is there already, rounds go on from it.

    manifest: of the bundle. first: the adapter that rounds begin with. asked: what they ask for,
    by default what suits choices, along directions that nobody knows before.
    Raises BundleError, AdapterError for a file of another bundle, and FederationError for a round
    that is about another, or for a bundle of several blocks.
    """

    def __init__(self, bundle: str | Path, file: str | Path, asked: Round | None) -> None:
        self.manifest = Bundle.open(bundle, check_hashes=False).manifest
        suited = Round.suited(self.manifest.identity)
        self.asked = asked or replace(suited, seed=secrets.randbits(63))
        check_bundle(self.manifest, self.asked)
        self._file = Path(file)
        begun = self._file if self._file.is_file() else Path(bundle) / "adapter.safetensors"
        known = self.manifest.identity, self.manifest.adapter_size, self.manifest.pruned
        self.first = load_adapter(begun, *known)

    def save(self, number: int, vector: Floats) -> None:
        """Write the start (n,) after a round, whole or not at all."""
        made, own = Adapter(vector, self.first.labels), self.manifest
        save_adapter(self._file, made, own.identity, own.adapter, own.pruned)
