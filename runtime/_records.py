"""Rows of the store as values, and as the JSON that is packed into a row's `record`."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter, Coordinates
from dsa_edge.gate import Gate
from dsa_edge.policy import LearnedGate
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._hyperparameters import Value
from dsa_edge.runtime._privacy import Spent

__all__ = [
    "DAMAGED",
    "InUse",
    "Run",
    "Version",
    "adapter_of",
    "before",
    "labels_of",
    "numbers_of",
    "parents_of",
    "record_of_run",
    "record_of_version",
    "run_of",
    "version_of",
]

DAMAGED = "damaged"  # the verdict of a row that cannot be read


@dataclass(frozen=True)
class Version:
    """One saved adapter. id 0 is the bundle's initial adapter; created is in Unix seconds.

    verdict: "damaged" when what the store says of it cannot be read; all else is then unknown.
    kept: whether its adapter is still there; of old versions only what they came from is.
    """

    id: int
    parent: int | None
    created: float | None
    verdict: str
    steps: int
    active: bool
    summary: dict[str, Any]
    kept: bool = True


@dataclass(frozen=True)
class Run:
    """One fit as the journal has it: version = adapter of `parent` after the first `kept` steps.

    verdict: None for a fit that was interrupted; "damaged" when what the store says of it cannot
        be read: seed and parent are then unknown, or the examples alone are.
    examples: ids of those it could learn from. privacy: what it took of it, None for a fit without.
    numbers: how many its journal holds, once it has ended. width: scalars of each step; None in
        journals from before it was kept, which have as many as `hyper` has queries.
    gate: table of a gate that it made, until it has ended with a version, which then has it; for
        good where it learned on from there. directions: base64 of those in which it did, float32.
    start: id of the bundle's learned start, where a replay needs it; None for one without.
    """

    id: int
    parent: int | None = None
    seed: int | None = None
    hyper: dict[str, Value] = field(default_factory=dict)
    version: int | None = None
    kept: int | None = None
    created: float | None = None
    verdict: str | None = None
    examples: tuple[str, ...] = ()
    privacy: Spent | None = None
    numbers: int | None = None
    width: int | None = None
    gate: list[list[float]] | None = None
    start: str | None = None
    directions: str | None = None

    def learning(self, directions: Floats) -> Run:
        """A fit that learns its gate, in directions (F, D + 1)."""
        raw = directions.astype("<f4").tobytes()
        return replace(self, directions=base64.b64encode(raw).decode())

    def learned_gate(self, start: Gate) -> LearnedGate:
        """The gate of a fit that learns it, where that begins."""
        raw = np.frombuffer(base64.b64decode(self.directions or ""), dtype="<f4")
        width = start.weight.shape[1] + 1
        return LearnedGate(start, raw.astype(np.float32).reshape(-1, width))

    @property
    def made_gate(self) -> Gate | None:
        """The gate that it made and no version has."""
        return None if self.gate is None else Gate.read(np.array(self.gate, dtype=np.float32))


@dataclass(frozen=True)
class InUse:
    """The version in use; adapter: None for version 0.

    damaged: versions that should be in use and cannot be read.
    lost: which one was in use cannot be read, so that the newest whole one is.
    """

    version: int
    adapter: Adapter | None
    damaged: tuple[int, ...]
    lost: bool


def record_of_version(
    version: Version, labels: dict[str, float], gate: Gate | None = None, start: str | None = None
) -> bytes:
    """What a row says of a version, without its id and whether it is in use.

    gate: its numbers follow the adapter's. start: whose directions the adapter's numbers count
    along, None where they are the adapter itself.
    """
    told = {k: v for k, v in asdict(version).items() if k not in ("id", "active")}
    gated = {} if gate is None else {"gate": {"shape": gate.table.shape, "served": gate.served}}
    along = {} if start is None else {"along": start}
    return json.dumps({**told, "labels": labels, **gated, **along}).encode()


def version_of(row: int, record: bytes, active: int | None) -> Version:
    """The version of a row."""
    told = json.loads(record)
    del told["labels"]
    for numbers in ("gate", "along"):
        told.pop(numbers, None)
    return Version(id=row, active=row == active, **told)


def labels_of(record: bytes) -> dict[str, float]:
    """Label biases of a version."""
    return dict(json.loads(record)["labels"])


def adapter_of(record: bytes, numbers: Floats) -> Adapter:
    """The adapter of a version, from its record and its numbers: its own, then the gate's.

    Of one that was learned along directions, the vector is empty: `_subspace.py` makes it.
    """
    told = json.loads(record)
    gated, gate = told.get("gate"), None
    if gated is not None and numbers.size:
        size = numbers.size - math.prod(gated["shape"])
        gate = Gate.read(numbers[size:].reshape(gated["shape"]), gated["served"])
        numbers = numbers[:size]
    if told.get("along") is None:
        return Adapter(numbers, dict(told["labels"]), gate)
    along = Coordinates(numbers, str(told["along"]))
    return Adapter(numbers[:0], dict(told["labels"]), gate, along)


def numbers_of(adapter: Adapter) -> Floats:
    """What a row holds of an adapter besides its record: its own numbers, then the gate's."""
    own = adapter.vector if adapter.coordinates is None else adapter.coordinates.values
    if adapter.gate is None or not own.size:
        return own
    return np.concatenate([own, adapter.gate.table.ravel()])


def record_of_run(run: Run) -> bytes:
    """What a row says of a fit, without its id and its examples."""
    told = {k: v for k, v in asdict(run).items() if k not in ("id", "examples")}
    for name in ("gate", "start", "directions"):  # which only some have
        if told[name] is None:
            del told[name]
    return json.dumps(told).encode()


def run_of(row: int, record: bytes) -> Run:
    """The fit of a row, without its examples."""
    run = Run(id=row, **json.loads(record))
    return replace(run, privacy=Spent(**run.privacy)) if isinstance(run.privacy, dict) else run


def parents_of(versions: Sequence[Version], runs: Sequence[Run]) -> dict[int, int | None]:
    """What each version was learned from; of a damaged one, what its fit says, or None."""
    made = {run.version: run.parent for run in runs}
    return {v.id: made.get(v.id) if v.parent is None else v.parent for v in versions}


def before(version: int, parents: dict[int, int | None]) -> int:
    """What a version was learned from, or the newest one before it where that is not known."""
    parent = parents.get(version)
    if parent is not None and 0 <= parent < version:
        return parent
    return max((known for known in parents if known < version), default=0)
