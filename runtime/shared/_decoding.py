"""Several users' prompts continued together: one token of every row a run, each by its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.errors import EngineError
from dsa_edge.gate import routes_of
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._engine import Decoded, Engine, Floats, Halves, Ints, Route
from dsa_edge.runtime._generate import Sampling
from dsa_edge.runtime._plan import MB, Budget, plan_chunks
from dsa_edge.runtime._prompts import GROW, no_prefix, run_prompt
from dsa_edge.runtime.shared._choices import MOST_ROWS

__all__ = ["Continued", "generate_rows", "rows_together"]

CACHES = 128 * MB  # of keys and values of all rows, but for a single row's


@dataclass
class Continued:
    """A prompt that is being continued.

    prompt: (P,) cached with the base; invocation: (R,) the rest of it; room: most tokens to make.
    who: whose row it is, for errors. made: tokens so far.
    """

    prompt: Ints
    invocation: Ints
    room: int
    who: str
    made: list[int] = field(default_factory=list)


def rows_together(manifest: Manifest, rows: Sequence[Continued]) -> Iterator[slice]:
    """Rows to continue at a time: at most `MOST_ROWS`, and as many as `CACHES` has room for."""
    d = manifest.decoder
    token = 4 * manifest.n_layers * int(d["n_kv_heads"]) * int(d["head_dim"])  # bytes
    start = 0
    while start < len(rows):
        part = rows[start : start + MOST_ROWS]
        while len(part) > 1 and len(part) * max(map(_most_tokens, part)) * token > CACHES:
            part = part[: len(part) // 2]
        yield slice(start, start + len(part))
        start += len(part)


def generate_rows(
    engine: Engine,
    rows: Sequence[Continued],
    adapters: Sequence[Adapter],
    sampling: Sampling,
    stop: tuple[int, ...],
) -> None:
    """Continue every row until one of `stop` or its room; tokens are added to `made`.

    adapters: of each row, whose gate chooses the row's blocks. A row draws as if it were alone.
    Raises EngineError naming whose logits are not numbers.
    """
    batch = _Batch(engine, rows, adapters)
    random = [np.random.default_rng(sampling.seed) for _ in rows]
    left = list(range(len(rows)))
    tokens = np.stack([row.invocation for row in rows])
    while left:
        logits = batch.decode(tokens)
        going, drawn = [], []
        for at, index in enumerate(left):
            row = rows[index]
            try:
                token = sampling.draw(logits[at], random[index])
            except EngineError as error:
                raise EngineError(f"{row.who}: {error}") from error
            if token in stop:
                continue
            row.made.append(token)
            if len(row.made) < row.room:
                going.append(at)
                drawn.append(token)
        if len(going) < len(left):
            batch.keep(going)
        left = [left[at] for at in going]
        tokens = np.array(drawn, dtype=np.int64)[:, None]


def _most_tokens(row: Continued) -> int:
    return len(row.prompt) + len(row.invocation) + row.room


class _Batch:
    """Keys and values (N, B, kv, room, d) of the rows so far, each row's adapter (n,) and route."""

    def __init__(
        self, engine: Engine, rows: Sequence[Continued], adapters: Sequence[Adapter]
    ) -> None:
        self._engine = engine
        manifest = engine.bundle.manifest
        self._prefix = no_prefix(manifest)
        self._adapters = np.stack([adapter.vector for adapter in adapters])
        self._lengths = np.array([len(row.prompt) for row in rows], dtype=np.int64)
        self._keys, self._values, pooled = self._prefilled(rows)
        self._route: Route | None = None
        if manifest.adapter.blocks > 1 and pooled is not None:
            gates = [adapter.gate for adapter in adapters]
            self._route = routes_of(gates, pooled, manifest.adapter.active)

    def decode(self, tokens: Ints) -> Floats:
        """Logits (B, V) after the next tokens (B, T) of every row, which become part of it."""
        result = self._run(tokens)
        new = tokens.shape[1]
        missing = int(self._lengths.max()) + new - self._keys.shape[3]
        if missing > 0:
            self._keys = _grown(self._keys, max(missing, GROW))
            self._values = _grown(self._values, max(missing, GROW))
        for row, at in enumerate(self._lengths):
            self._keys[:, row, :, at : at + new] = result.new_keys[:, row]
            self._values[:, row, :, at : at + new] = result.new_values[:, row]
        self._lengths = self._lengths + new
        return result.logits

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows alone."""
        self._keys, self._values = self._keys[:, rows], self._values[:, rows]
        self._lengths, self._adapters = self._lengths[rows], self._adapters[rows]
        self._route = self._route and self._route[np.array(rows, dtype=np.int64)]

    def _run(self, tokens: Ints) -> Decoded:
        """One run for all rows; one for each where the engine takes one adapter a run."""
        if self._engine.mixes:
            return self._decoded(tokens, slice(None))
        parts = [self._decoded(tokens, slice(at, at + 1)) for at in range(len(tokens))]
        return Decoded(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.new_keys for part in parts], 1),
            np.concatenate([part.new_values for part in parts], 1),
        )

    def _decoded(self, tokens: Ints, rows: slice) -> Decoded:
        return self._engine.decode(
            tokens[rows], self._prefix, self._keys[:, rows], self._values[:, rows],
            self._lengths[rows], self._adapters[rows], self._route and self._route[rows],
        )  # fmt: skip

    def _prefilled(self, rows: Sequence[Continued]) -> tuple[Halves, Halves, Floats | None]:
        """Keys, values and mean states (B, D) of all prompts: in one run if memory has room."""
        chunks = plan_chunks(self._engine.bundle.manifest, Budget(), True)
        longest = int(self._lengths.max())
        response = np.stack([row.invocation for row in rows])
        if len(rows) * (longest + response.shape[1]) <= chunks.prefill_tokens(longest):
            prompts = np.zeros((len(rows), longest), dtype=np.int64)
            for at, row in enumerate(rows):
                prompts[at, : len(row.prompt)] = row.prompt
            filled = self._engine.prefill(self._prefix, prompts, response, self._lengths)
            return _grown(filled.keys, GROW), _grown(filled.values, GROW), filled.pooled
        shape = list(self._prefix.keys.shape)
        shape[1], shape[3] = len(rows), longest + GROW
        keys, values = np.zeros(shape, np.float16), np.zeros(shape, np.float16)
        means = list[Floats]()
        for at, row in enumerate(rows):
            cache, _ = run_prompt(self._engine, self._prefix, row.prompt, row.invocation, chunks)
            keys[:, at, :, : len(row.prompt)] = cache.keys[:, 0, :, : len(row.prompt)]
            values[:, at, :, : len(row.prompt)] = cache.values[:, 0, :, : len(row.prompt)]
            means += [] if cache.pooled is None else [cache.pooled]
        return keys, values, np.stack(means) if len(means) == len(rows) else None


def _grown(cache: Halves, room: int) -> Halves:
    """A cache with so many more positions."""
    padding = [(0, 0)] * 5
    padding[3] = (0, room)
    return np.pad(cache, padding)
