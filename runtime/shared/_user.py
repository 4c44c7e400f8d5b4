"""One of many users of a base: a personalizer that owns a store and shares all else."""

from __future__ import annotations

from collections.abc import Callable

from dsa_edge.adapter import Adapter
from dsa_edge.examples import Example
from dsa_edge.runtime._encode import Encoded
from dsa_edge.runtime._engine import Engine, Ints
from dsa_edge.runtime._personalizer import Personalizer
from dsa_edge.runtime._store import Store
from dsa_edge.runtime.shared._recent import Recent
from dsa_edge.runtime.shared._stores import PooledDatabase
from dsa_edge.tokenizer import Tokenizer

__all__ = ["User"]


class User(Personalizer):
    """A personalizer whose engine, tokenizer and initial adapter are the base's.

    recent: where the adapter in use is kept for the next call. on_close: called once it is closed.
    """

    def __init__(
        self, engine: Engine, store: Store, tokenizer: Tokenizer, recent: Recent, initial: Adapter
    ) -> None:
        super().__init__(engine, store, tokenizer)
        self._recent, self._initial = recent, initial
        self.on_close: Callable[[], object] = lambda: None

    @property
    def adapter(self) -> Adapter:
        """The adapter in use; its numbers are read-only, for they may be the next caller's too."""
        return self._recent.adapter(self._database, self._read)

    @property
    def name(self) -> str:
        """What errors call this user: the store's folder."""
        return "a user in memory" if self._store.folder is None else str(self._store.folder)

    @property
    def base_engine(self) -> Engine:
        """The engine, by which a base knows its users."""
        return self._engine

    def encoded(self, example: Example) -> Encoded:
        """Token ids of an example."""
        return self._encoder.encode(example)

    def split(self, prompt: str) -> tuple[Ints, Ints]:
        """A prompt's cached part and its invocation, in tokens."""
        return self._encoder.split_prompt(prompt)

    def close(self) -> None:
        """Close the store; the base stays loaded for the others."""
        self._recent.drop(self._database)
        self._store.close()
        self.on_close()

    @property
    def _database(self) -> PooledDatabase:
        database = self._store.database
        assert isinstance(database, PooledDatabase)  # the base made it so
        return database

    def _read(self) -> Adapter:
        return super().adapter

    def _version(self, version: int) -> Adapter:
        return super()._version(version) if version else self._initial
