"""Adapters that were used lately, bounded in bytes; the others are read from their stores again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from dsa_edge.adapter import Adapter
from dsa_edge.runtime.shared._stores import Mark, PooledDatabase

__all__ = ["Recent"]


class Recent:
    """The adapters in use of the users that came last, with the state of the store they are of.

    most: bytes of their numbers. An adapter is returned as long as its store has not changed, by
    whichever program; nobody may write into its numbers, for it is the next caller's too.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._lock = Lock()
        self._kept: OrderedDict[PooledDatabase, tuple[Mark, Adapter]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def adapter(self, store: PooledDatabase, read: Callable[[], Adapter]) -> Adapter:
        """The adapter in use of a store, by `read` where it is not known or no longer holds."""
        mark = store.mark()  # before reading: what changes meanwhile is then seen the next time
        with self._lock:
            kept = self._kept.get(store)
            if kept is not None and kept[0] == mark:
                self._kept.move_to_end(store)
                return kept[1]
        adapter = read()
        adapter.vector.flags.writeable = False
        if mark is not None:
            self._keep(store, mark, adapter)
        return adapter

    def drop(self, store: PooledDatabase) -> None:
        """Forget the adapter of a store."""
        with self._lock:
            self._drop(store)

    def _keep(self, store: PooledDatabase, mark: Mark, adapter: Adapter) -> None:
        with self._lock:
            self._drop(store)
            self._kept[store] = mark, adapter
            self.bytes += _bytes(adapter)
            while self.bytes > self.most:
                self._drop(next(iter(self._kept)))

    def _drop(self, store: PooledDatabase) -> None:
        kept = self._kept.pop(store, None)
        self.bytes -= 0 if kept is None else _bytes(kept[1])


def _bytes(adapter: Adapter) -> int:
    """Of an adapter's numbers, its gate's among them."""
    gate = adapter.gate
    return adapter.vector.nbytes + (gate.weight.nbytes + gate.bias.nbytes if gate else 0)
