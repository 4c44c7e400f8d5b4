"""`SharedBase`: one loaded base that many users share, each with a store of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np

from dsa_edge.adapter import Adapter, load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import (
    DsaEdgeError,
    EngineError,
    ExampleError,
    MissingDependencyError,
    UsageError,
)
from dsa_edge.examples import Example
from dsa_edge.runtime._backend import open_engine
from dsa_edge.runtime._encode import Encoded
from dsa_edge.runtime._engine import Engine
from dsa_edge.runtime._generate import NOT_NUMBERS, Sampling
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._personalizer import Choice, Personalizer, check_choices
from dsa_edge.runtime._store import Store
from dsa_edge.runtime.shared._choices import in_parts, log_probs
from dsa_edge.runtime.shared._decoding import Continued, generate_rows, rows_together
from dsa_edge.runtime.shared._engine import one_at_a_time
from dsa_edge.runtime.shared._recent import Recent
from dsa_edge.runtime.shared._stores import Pool, PooledDatabase
from dsa_edge.runtime.shared._user import User
from dsa_edge.tokenizer import Tokenizer

__all__ = ["SharedBase"]

Row = tuple[Personalizer, str]  # a user and a prompt


class SharedBase:
    """A bundle that is loaded once and serves any number of users.

    What a user takes in memory is little but the adapter in use, and of those the ones that were
    used lately are kept: `adapters_mb` for all users together. Stores are open while they are used,
    at most `open_stores` of them. Any thread may use any user; runs of the engine wait for each
    other.
    """

    def __init__(self, engine: Engine, open_stores: int = 32, adapters_mb: float = 16) -> None:
        if open_stores < 1 or not adapters_mb >= 0:
            raise UsageError(
                f"open_stores is {open_stores} and adapters_mb is {adapters_mb}, expected at least "
                "1 store and 0 MB."
            )
        self.bundle = engine.bundle
        self._engine = one_at_a_time(engine)
        self._tokenizer = Tokenizer.of(self.bundle)
        self._pool, self._recent = Pool(open_stores), Recent(int(adapters_mb * 2**20))
        self._initial = self._load_initial()
        self._users: dict[object, User] = {}
        self._lock, self._closed = Lock(), False

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        backend: str = "auto",
        threads: int | None = None,
        check_hashes: bool = True,
        layers_kept: int | None = None,
        open_stores: int = 32,
        adapters_mb: float = 16,
    ) -> SharedBase:
        """Open a bundle for many users; arguments of `Personalizer.open` mean the same here.

        open_stores: stores whose files are open at a time, three files each.
        adapters_mb: memory for the adapters of users that came lately; others are read again.
        Raises BundleError, AdapterError, EngineError or UsageError.
        """
        opened = Bundle.open(bundle, check_hashes)
        engine = open_engine(opened, backend, threads, layers_kept)
        return cls(engine, open_stores, adapters_mb)

    def user(self, store: str | Path | None, key: KeyProvider | None = None) -> Personalizer:
        """A user of this base; closing one closes neither the base nor the others.

        store, key: as of `Personalizer.open`.
        Raises StoreError, AdapterError for a store of another bundle, UsageError for a store that
        a user of this base has open, or once the base is closed.
        """
        folder = None if store is None else Path(store)
        place: object = object() if folder is None else folder.resolve()
        with self._lock:
            self._check_open()
            if place in self._users:
                raise UsageError(
                    f"the store {folder} is open already, expected one user for each store: use "
                    "that one (`users` has it), or close it first."
                )
            opener = partial(PooledDatabase, self._pool)
            made = Store(folder, self.bundle.identity, key, opener)
            user = User(self._engine, made, self._tokenizer, self._recent, self._initial)
            user.on_close = partial(self._users.pop, place, None)
            self._users[place] = user
            return user

    @property
    def users(self) -> dict[Path, Personalizer]:
        """The users with a folder that are open, by the folder's resolved path."""
        with self._lock:
            return {place: u for place, u in self._users.items() if isinstance(place, Path)}

    def choose(self, rows: Sequence[Row], choices: Sequence[str]) -> list[Choice]:
        """The likeliest of several continuations for each row, a user and a prompt.

        Rows of different users run together, each by its user's adapter in use. Raises what
        `Personalizer.choose` does, naming the row; then nothing was answered, and nothing lost.
        """
        check_choices(choices)
        encoded = [self._encoded(number, row, choices) for number, row in enumerate(rows)]
        found: list[Choice] = []
        for part in in_parts(self._engine, encoded):
            adapters = self._adapters(rows, part)
            sealed = any(user.sealed for user, _ in rows[part])
            told = log_probs(self._engine, encoded[part], adapters, sealed)
            for number, row in enumerate(told, start=part.start):
                with _naming(number, rows[number][0]):
                    if np.isnan(row).any():
                        raise EngineError(NOT_NUMBERS)
                shares = tuple(float(p) for p in np.exp(row))
                found.append(Choice(choices[int(row.argmax())], shares))
        return found

    def generate(
        self, rows: Sequence[Row], max_tokens: int = 40, sampling: Sampling | None = None
    ) -> list[str]:
        """Continue each row, a user and a prompt, by that user's adapter in use.

        A row draws the same tokens beside others as alone. Raises what `Personalizer.generate`
        does, naming the row.
        """
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}, expected at least 1.")
        made = [self._continued(number, row, max_tokens) for number, row in enumerate(rows)]
        stop = self.bundle.manifest.tokenizer.eos_ids
        for part in rows_together(self.bundle.manifest, made):
            adapters = self._adapters(rows, part)
            generate_rows(self._engine, made[part], adapters, sampling or Sampling(), stop)
        return ["".join(self._tokenizer.stream(row.made)) for row in made]

    @property
    def engine(self) -> dict[str, str]:
        """What runs the model: `backend`, and `kernels`, which run the adapters."""
        return {"backend": self._engine.name, "kernels": self._engine.kernels}

    def close(self) -> None:
        """Close all users, and release the engine."""
        with self._lock:
            self._closed, users = True, list(self._users.values())
        for user in users:
            user.close()
        self._engine.release("prefill", "probe", "choose", "decode")

    def __enter__(self) -> SharedBase:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this base was closed, expected an open one: open the bundle again.")

    def _load_initial(self) -> Adapter:
        """The bundle's initial adapter, one for all users that have not learned yet."""
        manifest, file = self.bundle.manifest, self.bundle.path / "adapter.safetensors"
        wanted = manifest.adapter_size, manifest.pruned, manifest.gate_shape
        made = load_adapter(file, manifest.identity, *wanted)
        made.vector.flags.writeable = False
        return made

    def _encoded(self, number: int, row: Row, choices: Sequence[str]) -> Encoded:
        user, prompt = row
        with _naming(number, user):
            return self._of_here(user).encoded(Example(prompt, choices[0], tuple(choices)))

    def _continued(self, number: int, row: Row, max_tokens: int) -> Continued:
        user, prompt = row
        with _naming(number, user):
            cached, invocation = self._of_here(user).split(prompt)
            limit = int(self.bundle.manifest.decoder["max_positions"])
            room = limit - len(cached) - len(invocation)
            if room < 1:
                raise ExampleError(
                    f"the prompt has {limit - room} tokens, this base takes {limit}: shorten it."
                )
        return Continued(cached, invocation, min(max_tokens, room), _name(number, user))

    def _adapters(self, rows: Sequence[Row], part: slice) -> list[Adapter]:
        """The adapters in use of some rows' users, each user's read once."""
        found: dict[int, Adapter] = {}
        for number, (user, _) in enumerate(rows[part], start=part.start):
            if id(user) not in found:
                with _naming(number, user):
                    found[id(user)] = self._of_here(user).adapter
        return [found[id(user)] for user, _ in rows[part]]

    def _of_here(self, user: Personalizer) -> User:
        self._check_open()
        if not isinstance(user, User) or user.base_engine is not self._engine:
            raise UsageError(
                "the user is not of this base, expected one that its `user` opened: open the "
                "user's store with it."
            )
        return user


@contextmanager
def _naming(number: int, user: Personalizer) -> Iterator[None]:
    """Say in an error which row it is about, and whose."""
    try:
        yield
    except MissingDependencyError:  # of no row: it is missing for all
        raise
    except DsaEdgeError as error:
        raise type(error)(f"{_name(number, user)}: {error}") from error


def _name(number: int, user: Personalizer) -> str:
    return f"row {number} ({user.name if isinstance(user, User) else 'of no user of this base'})"
