"""The fits of a store, and every step of theirs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dsa_edge.errors import StoreError
from dsa_edge.gate import Gate
from dsa_edge.runtime._database import store_errors
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._hyperparameters import Value
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._packed import Packed
from dsa_edge.runtime._privacy import Spent
from dsa_edge.runtime._records import DAMAGED, Run, record_of_run, run_of

__all__ = ["ID_BYTES", "Journal"]

ID_BYTES = 8  # of an example: a keyed hash of its content
KEPT = 32  # fits whose steps a store holds; of older ones it knows what they learned from


class Journal(Packed):
    """Fits are begun, and their steps kept one by one; each is durable before the next."""

    def start_run(
        self, parent: int, seed: int, hyper: Mapping[str, Value], examples: Sequence[str] = (),
        spent: Spent | None = None, width: int | None = None, gate: Gate | None = None,
        start: str | None = None, directions: Floats | None = None,
    ) -> int:  # fmt: skip
        """Open the journal of a new fit; returns its id.

        spent: the privacy that it takes if it is never ended. width: scalars of each step, None
        for as many as queries. gate: that the fit made. start: id of what a replay begins from.
        directions: in which it learns its gate.
        """
        with self._db.transaction():
            for run in self.runs():
                if run.verdict is None and run.numbers is None:  # it was interrupted
                    self._keep_run(replace(run, numbers=self._compact(run)))
            self._drop_steps()
            row = self._next_id("runs")
            ids = self._vault.pack(bytes.fromhex("".join(examples)), f"runs/{row}/examples")
            self._db.rows("INSERT INTO runs VALUES (?, x'', ?)", row, ids)
            made = Run(row, parent, seed, dict(hyper), created=time.time(), privacy=spent)
            table = None if gate is None else gate.table.tolist()
            made = replace(made, width=width, gate=table, start=start)
            if directions is not None:
                made = made.learning(directions)
            self._keep_run(made)
        self._next = 0
        return row

    def _drop_steps(self) -> None:
        """Of the oldest fits keep no steps, so that a store does not grow with every fit."""
        for old in self.runs()[: -KEPT + 1]:
            if old.numbers and old.verdict != DAMAGED:
                self._db.rows("DELETE FROM journal WHERE run = ?", old.id)
                self._keep_run(replace(old, numbers=0))

    def append(self, run: int, step: Step) -> None:
        """Journal one step; it is durable when this returns."""
        row = np.array([step.rate, *step.slopes], dtype=np.float32)
        blob = self._vault.pack_floats(row, f"journal/{run}/{self._next}")
        self._db.rows("INSERT INTO journal VALUES (?, ?, ?)", run, self._next, blob)
        self._next += 1

    def run(self, run: int | None = None) -> Run:
        """One fit by its id, or the last one.

        Raises StoreError when there is none.
        """
        found = [r for r in self.runs() if run is None or r.id == run]
        if not found:
            raise StoreError("the journal holds no such fit: `dsa-edge personalize` makes one.")
        return found[-1]

    def runs(self) -> list[Run]:
        """All fits that were started, damaged ones among them."""
        rows = self._db.rows("SELECT id, record, examples FROM runs ORDER BY id")
        return [self._run(*row) for row in rows]

    def journal(self, run: Run) -> list[Step]:
        """The steps of one fit; raises DamagedError when any of them is damaged or missing."""
        with store_errors(self.folder):
            width = 1 + int(run.hyper["queries"] if run.width is None else run.width)
            parts = self._steps(run.id)
            if self._lacks(run, parts):
                raise ValueError(f"steps of fit {run.id} are missing")
            rows = [row for part in parts for row in part.reshape(-1, width)]
            return [Step(float(row[0]), row[1:]) for row in rows]

    def _lacks(self, run: Run, parts: list[Floats]) -> bool:
        """Whether rows of a journal are missing at its end."""
        if run.numbers is not None:
            return run.numbers != sum(part.size for part in parts)
        # A row of a fit that does not exist may be one of these: its key has changed.
        return bool(self._db.rows("SELECT 1 FROM journal WHERE run NOT IN (SELECT id FROM runs)"))

    def _run(self, row: int, record: bytes, examples: bytes) -> Run:
        place = f"runs/{row}"
        run = self._whole(lambda: run_of(row, self._vault.unpack(record, f"{place}/record")))
        ids = self._whole(lambda: self._vault.unpack(examples, f"{place}/examples").hex())
        if run is None:
            return Run(row, verdict=DAMAGED)
        if ids is None:
            return replace(run, verdict=DAMAGED)
        each = 2 * ID_BYTES
        return replace(run, examples=tuple(ids[i : i + each] for i in range(0, len(ids), each)))

    def _keep_run(self, run: Run) -> None:
        record = self._vault.pack(record_of_run(run), f"runs/{run.id}/record")
        self._db.rows("UPDATE runs SET record = ? WHERE id = ?", record, run.id)

    def _compact(self, run: Run, steps: int | None = None) -> int | None:
        """One row for all steps of a fit: a row for each takes three times the room.

        steps: how many there should be; None where nobody knows any more.
        Returns how many numbers they are; None where some are damaged, which stay as they are.
        """
        rows = self._whole(lambda: self._steps(run.id))
        if rows is None or (self._lacks(run, rows) if steps is None else steps != len(rows)):
            return None
        if len(rows) > 1:
            blob = self._vault.pack_floats(np.concatenate(rows), f"journal/{run.id}/0")
            self._db.rows("DELETE FROM journal WHERE run = ?", run.id)
            self._db.rows("INSERT INTO journal VALUES (?, 0, ?)", run.id, blob)
        return sum(row.size for row in rows)

    def _steps(self, run: int) -> list[Floats]:
        """The rows of a journal: one of all steps, or one of each, without a gap."""
        query = "SELECT first, steps FROM journal WHERE run = ? ORDER BY first"
        with store_errors(self.folder):
            rows = self._db.rows(query, run)
            if [first for first, _ in rows] != list(range(len(rows))):
                raise ValueError(f"steps of fit {run} are missing")
            return [
                self._vault.unpack_floats(blob, f"journal/{run}/{first}") for first, blob in rows
            ]
