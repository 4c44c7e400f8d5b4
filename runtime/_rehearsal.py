"""What a fit writes to a store, told by writing as much to another one.

Which pages a transaction touches, and so how far the write-ahead log grows, follows from how SQLite
splits its trees. A rehearsal in the system's folder for temporary files, never synced, tells it for
40 µs a step; the rest is what SQLite does with the log when it is full (sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.clusters import FEATURES
from dsa_edge.gate import Gate
from dsa_edge.runtime._database import FILE
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._optimizer import Hyperparameters, Step
from dsa_edge.runtime._store import ID_BYTES, Store
from dsa_edge.runtime._vault import KEY_BYTES
from dsa_edge.runtime.estimators import Space, make_estimator

__all__ = ["Fitted", "Log", "perform", "rehearse"]

PAGE, FRAME, HEADER = 1024, 1048, 32  # bytes of a page, of a frame of the log, before all frames
FULL = 1000  # frames in the log, after which SQLite copies them into the database and starts anew
SUMMARY = {"examples": 64, "loss": 0.12345678901234567, "accuracy": 0.890625}
Transaction = tuple[int, int]  # frames that it wrote, pages of the database after it


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves: steps, numbers of its adapter, examples, and its choices' labels.

    width: scalars of a step; None for what an adapter of one block has. gate: (N, D) of a gate.
    """

    steps: int
    numbers: int
    examples: int
    hyper: Hyperparameters
    choices: tuple[str, ...] = ()
    width: int | None = None
    gate: tuple[int, int] | None = None


@dataclass(frozen=True)
class Log:
    """Where a database stands, only read.

    database, log: bytes of its two files. used: frames of the log that count, those behind them
    being left from before it was started anew. pages: of the database; free: those in no use.
    """

    database: int
    log: int
    used: int
    pages: int
    free: int

    @classmethod
    def of(cls, store: Store) -> Log:
        """Where a store in a folder stands."""
        assert store.folder is not None
        log = store.folder / f"{FILE}-wal"
        content = log.read_bytes() if log.exists() else b""
        pages, free = (int(store._db.rows(f"PRAGMA {n}_count")[0][0]) for n in ("page", "freelist"))
        size = (store.folder / FILE).stat().st_size
        return cls(size, len(content), _used(content), pages, free)

    def growth(self, transactions: Sequence[Transaction], start: int) -> int:
        """Bytes that the files grow by at most while transactions follow one another.

        start: pages of the database that they were rehearsed on.
        """
        used = 0 if self.used >= FULL else self.used  # what comes next starts a full log anew
        longest, database, most = self.log, self.database, 0
        for written, pages in transactions:
            used += written
            longest = max(longest, HEADER + FRAME * used)
            if used >= FULL:
                added = max(0, pages - start - self.free)
                database, used = max(database, PAGE * (self.pages + added)), 0
            most = max(most, longest - self.log + database - self.database)
        return most


def _used(log: bytes) -> int:
    """Frames that begin with the numbers that the log itself does (sqlite.org/fileformat2.html)."""
    salts, count = log[16:24], 0
    while log[HEADER + FRAME * count + 8 :][:8] == salts != b"":
        count += 1
    return count


def rehearse(fit: Fitted, user: Store, bound: int) -> int:
    """Bytes by which a fit that improves makes a user's store, which has a folder, grow meanwhile.

    bound: what to say where there is no folder for temporary files.
    """
    log = Log.of(user)
    try:
        with tempfile.TemporaryDirectory(prefix="dsa-edge-plan-") as folder:
            store = Store(Path(folder), "0" * 64, _AnyKey() if user.sealed else None)
            try:
                return log.growth(*_rehearsed(store, fit))
            finally:
                store.close()
    except OSError:
        return bound


def _rehearsed(store: Store, fit: Fitted) -> tuple[list[Transaction], int]:
    """What each transaction of a fit writes, and the pages that there were before."""
    store._db.rows("PRAGMA synchronous = OFF")  # nobody will miss it
    store._db.rows("PRAGMA wal_autocheckpoint = 0")
    before, start = _log_bytes(store), Log.of(store).pages
    transactions = []
    for _ in perform(store, fit):
        now = _log_bytes(store)
        pages = int(store._db.rows("PRAGMA page_count")[0][0])
        transactions.append(((now - before) // FRAME, pages))
        before = now
    return transactions, start


def _log_bytes(store: Store) -> int:
    assert store.folder is not None
    return (store.folder / f"{FILE}-wal").stat().st_size


def perform(store: Store, fit: Fitted) -> Iterator[None]:
    """The transactions of `Learner.fit`, one by one, with numbers that compress like a fit's."""
    random = np.random.default_rng(0)
    ids = [os.urandom(ID_BYTES).hex() for _ in range(fit.examples)]
    start = np.zeros(fit.numbers, dtype=np.float32)
    width = fit.width or make_estimator(fit.hyper, 0, Space(start)).width
    made, directions = _gate(fit, random)
    hyper = asdict(fit.hyper)
    run = store.start_run(0, 2**62, hyper, ids, None, width, made, directions=directions)
    yield
    for _ in range(fit.steps):
        slopes = random.standard_normal(width).astype(np.float32)
        store.append(run, Step(fit.hyper.rate, slopes))
        yield
    vector = random.standard_normal(fit.numbers).astype(np.float32)
    adapter = Adapter(vector, dict.fromkeys(fit.choices, SUMMARY["loss"]))
    store.end_run(run, "improved", (adapter, fit.steps, {"before": SUMMARY, "after": SUMMARY}))
    yield


def _gate(fit: Fitted, random: np.random.Generator) -> tuple[Gate | None, Floats | None]:
    """A gate that a fit makes, and the directions in which it learns it."""
    if fit.gate is None:
        return None, None
    table = random.standard_normal((fit.gate[0], fit.gate[1] + 1)).astype(np.float32)
    found = random.standard_normal((FEATURES, fit.gate[1] + 1)).astype(np.float32)
    return Gate.read(table), found if fit.hyper.learns_gate else None


class _AnyKey:
    """Seals what is thrown away at once."""

    name = "a key of no use"

    def key(self, store: str, salt: bytes) -> bytes:
        """Any."""
        return bytes(KEY_BYTES)
