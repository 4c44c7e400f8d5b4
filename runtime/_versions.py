"""What a user has learned: versions, their history, and the way back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsa_edge.adapter import (
    Adapter,
    compatibility,
    load_adapter,
    save_adapter,
)
from dsa_edge.bundle import Bundle
from dsa_edge.errors import DamagedError, StoreError, TamperError, UsageError
from dsa_edge.examples import Example
from dsa_edge.gate import Gate, check_gate
from dsa_edge.runtime._database import store_errors
from dsa_edge.runtime._journal import ID_BYTES
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._learned_gate import replayed_gates
from dsa_edge.runtime._optimizer import Hyperparameters, Step, replay
from dsa_edge.runtime._records import Run, Version
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._subspace import Point, Subspaces
from dsa_edge.runtime.estimators import slot_shapes

__all__ = ["Forgotten", "Versions"]


@dataclass(frozen=True)
class Forgotten:
    """What `forget` deleted: versions, which are gone for good, and the version now in use."""

    versions: tuple[int, ...]
    active: int


class Versions:
    """The adapters of one user on one bundle."""

    def __init__(self, bundle: Bundle, store: Store) -> None:
        self.bundle, self._store = bundle, store
        self._subspaces = Subspaces(bundle)

    @property
    def adapter(self) -> Adapter:
        """The adapter in use; a damaged one gives way to the nearest version it came from."""
        found = self._store.newest_whole().adapter
        return self._version(0) if found is None else self._subspaces.whole(found)

    @property
    def version(self) -> int:
        """The version in use; 0 is the bundle's initial adapter."""
        return self._store.newest_whole().version

    @property
    def damaged(self) -> tuple[int, ...]:
        """Versions that should be in use and cannot be read; an older one is used instead."""
        return self._store.newest_whole().damaged

    @property
    def active_damaged(self) -> bool:
        """Whether the store no longer knows which version was in use; the newest whole one is."""
        return self._store.newest_whole().lost

    @property
    def sealed(self) -> bool:
        """Whether the store needs a key."""
        return self._store.sealed

    def history(self) -> list[Version]:
        """All saved versions, oldest first; what is damaged has the verdict "damaged"."""
        return self._store.versions()

    def fits(self) -> list[Run]:
        """All fits that were begun, oldest first, those that were interrupted among them.

        One that cannot be read, or whose examples cannot, has the verdict "damaged".
        """
        return self._store.runs()

    def rollback(self, version: int) -> None:
        """Use an earlier version again; 0 is the bundle's initial adapter."""
        with self._store.writing():
            self._store.activate(version)

    def forget(self, examples: Sequence[str] | None = None) -> Forgotten:
        """Delete all that was learned, or all that was learned from some examples.

        examples: their ids. Every version that may have learned from one of them is deleted, with
            what was learned on top of it; the nearest version before is then in use. To learn the
            others again, `fit` on them. A damaged fit may have learned from any example.
        """
        with self._store.writing():
            if examples is None:
                gone = tuple(version.id for version in self.history())
                self._store.forget()
            else:
                gone = self._store.forget_examples([_id(example) for example in examples])
            try:
                active = self.version
            except TamperError:  # what is forgotten is gone all the same; using it will tell
                active = self._store.active
        return Forgotten(gone, active)

    def example_id(self, example: Example) -> str:
        """The id of an example in this store: 16 hex digits that say nothing without the store.

        Nor, where it is sealed, without its key.
        """
        return self._store.example_id(_content(example))

    def known_examples(self) -> set[str]:
        """Ids of all examples that a fit used or that are remembered."""
        return self._store.example_ids()

    def remembered(self) -> dict[str, Example]:
        """The examples that `fit(…, remember=True)` kept, by id, oldest first."""
        return {key: _example(content) for key, content in self._store.remembered().items()}

    def save_adapter(self, path: str | Path, small: bool = False) -> None:
        """Write the adapter in use to a file.

        small: its coordinates alone, which bundles with the same learned start can read; raises
            UsageError for an adapter that was not learned along directions.
        """
        told = self.bundle.manifest
        save_adapter(path, self.adapter, told.identity, told.adapter, told.pruned, small)

    def load_adapter(self, path: str | Path) -> int:
        """Use an adapter from a file as a new version; returns its id."""
        return self.use_adapter(self._from_file(Path(path)))

    def use_adapter(self, adapter: Adapter) -> int:
        """Use an adapter of this bundle as a new version, such as an imported one; its id."""
        size = self.bundle.manifest.adapter_size
        if adapter.vector.shape != (size,) or not np.isfinite(adapter.vector).all():
            raise UsageError(
                f"an adapter of {adapter.vector.shape} numbers was given, expected {size} finite "
                "ones: give one that was made for this bundle."
            )
        shape, trained = self.bundle.manifest.gate_shape, bool(adapter.vector.any())
        check_gate(adapter.gate, shape, trained, "the adapter")
        with self._store.writing():
            kept = self._subspaces.settled(adapter)
            return self._store.add_version(self.version, kept, "loaded", 0, {})

    def is_compatible(self, path: str | Path) -> tuple[str, ...]:
        """Why an adapter file cannot be used here; empty when it can.

        Raises AdapterError when it is not an adapter of ours.
        """
        manifest = self.bundle.manifest
        size = manifest.adapter_size
        start = None if manifest.start is None else manifest.start.id
        return compatibility(
            path, manifest.identity, manifest.adapter, size, manifest.pruned, start
        )

    def replay(self, steps: Sequence[int], run: int | None = None) -> list[Adapter]:
        """Rebuild the adapter after each number of steps from the journal alone, to the bit.

        run: which fit, by default the last one. Label biases are those of the version it made.
        Raises StoreError when there is no such fit, DamagedError when it cannot be read.
        """
        found = self._store.run(run)
        if found.parent is None or found.seed is None:
            raise DamagedError(
                f"fit {found.id} of {self._store.folder} is damaged, so it cannot be replayed: "
                "restore the store from a backup, or replay another fit."
            )
        with store_errors(self._store.folder):
            start = self._version(found.parent)
            hyper = Hyperparameters.from_dict(found.hyper)
            self._check_start(found, hyper.along)
            labels = self._store.labels(found.version) if found.version else start.labels
            point = self._point(start, hyper.along, found.parent)
            journal, gates = self._gates_of(found, start.gate, hyper, steps)
            states = replay(
                point.begin, found.seed, hyper, journal, steps, point.shapes, point.blocks
            )
            return [
                point.adapter(learned, labels, gate)
                for learned, gate in zip(states, gates, strict=True)
            ]

    def _point(self, adapter: Adapter, along: int, version: int) -> Point:
        """Where a run begins from a version."""
        shapes = slot_shapes(self.bundle.manifest)
        return self._subspaces.point(adapter, along, version, shapes)

    def _begins_at(self, parent: int, along: int) -> str | None:
        """The learned start that a fit from a version depends on; None for none."""
        told = self.bundle.manifest.start
        return told.id if told and (along or not parent) else None

    def _check_start(self, run: Run, along: int) -> None:
        """Refuse to replay a fit that began elsewhere than the bundle now does."""
        parent = run.parent or 0
        if (along or not parent) and run.start != self._begins_at(parent, along):
            raise StoreError(
                f"fit {run.id} began from start {str(run.start)[:12]}, this bundle has another: "
                "open the bundle that it began on; its version is still there."
            )

    def journal(self, run: int | None = None) -> list[Step]:
        """The recorded steps of a fit, by default of the last one.

        Raises StoreError when there is no such fit, DamagedError when steps are damaged or missing.
        """
        return self._store.journal(self._store.run(run))

    def _gates_of(
        self, run: Run, start: Gate | None, hyper: Hyperparameters, steps: Sequence[int]
    ) -> tuple[list[Step], list[Gate | None]]:
        """A fit's journal without what it has of a gate, and the gate after each of some steps."""
        journal, first = self._store.journal(run), run.made_gate or start
        if run.directions is None or first is None:
            return journal, [self._gate_of(run) or start] * len(steps)
        learned = run.learned_gate(first)
        size = learned.amounts.size
        gates: list[Gate | None] = [*replayed_gates(learned, hyper, journal, steps)]
        return [Step(step.rate, step.slopes[:-size]) for step in journal], gates

    def _gate_of(self, run: Run) -> Gate | None:
        """The gate that a fit used, if its version, or what was kept of the fit, still has it."""
        kept = [v.id for v in self.history() if v.kept and v.id == run.version]
        return self._store.adapter(kept[0]).gate if kept else run.made_gate

    def rekey(self, key: KeyProvider | None) -> None:
        """Seal the store under another key, or unseal it; all of it, or nothing changes.

        What is damaged stays damaged, and what is left of it is deleted. Raises TamperError for
        what was written without the store's key.
        """
        if self._store.folder is None:
            raise StoreError("this store is in memory alone: open one with a folder to seal it.")
        with self._store.writing():
            self._store.rekey(key)

    @property
    def store_bytes(self) -> int:
        """What this user takes on disk."""
        return self._store.bytes

    def _remember(self, examples: dict[str, Example]) -> None:
        self._store.remember({key: _content(example) for key, example in examples.items()})

    def _version(self, version: int) -> Adapter:
        if version:
            return self._subspaces.whole(self._store.adapter(version))
        return self._from_file(self.bundle.path / "adapter.safetensors")

    def _from_file(self, file: Path) -> Adapter:
        manifest = self.bundle.manifest
        wanted = manifest.adapter_size, manifest.pruned, manifest.gate_shape
        return self._subspaces.whole(load_adapter(file, manifest.identity, *wanted))


def _content(example: Example) -> str:
    """An example as text, the same for the same example."""
    fields = [example.prompt, example.response, list(example.choices), example.ends]
    return json.dumps(fields, ensure_ascii=False)


def _example(content: str) -> Example:
    prompt, response, choices, ends = json.loads(content)
    return Example(prompt, response, tuple(choices), ends)


def _id(text: str) -> str:
    if len(text) != 2 * ID_BYTES or set(text) - set("0123456789abcdef"):
        raise UsageError(
            f"{text!r} is no id of an example, expected {2 * ID_BYTES} hex digits: `example_id` "
            "tells it."
        )
    return text
