"""Choices of several users in one batch: every example by an adapter and a route of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.runtime._cache import PromptCache, cache_size
from dsa_edge.runtime._encode import Encoded, longest
from dsa_edge.runtime._engine import Context, Engine, Floats, Ints
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._plan import Budget, plan_chunks

__all__ = ["MOST_ROWS", "OwnAdapters", "in_parts", "log_probs"]

MOST_ROWS = 64  # of a batch: their adapters are in memory together, 7 MB at the default core


def log_probs(
    engine: Engine, encoded: Sequence[Encoded], adapters: Sequence[Adapter], sealed: bool
) -> Floats:
    """Log-probabilities (B, K) of the choices that all examples share, each by its own adapter.

    Of several blocks, each example goes through those that its adapter's gate chooses.
    sealed: encrypt the prompts if they are too long for memory and go to an unlinked file.
    """
    full_head = any(example.tokens is None for example in encoded)
    chunks = plan_chunks(engine.bundle.manifest, Budget(), full_head, longest=longest(encoded))
    cache = PromptCache(engine, items_of(encoded), chunks, sealed=sealed)
    gates = [adapter.gate for adapter in adapters]
    counts = [len(example.items) for example in encoded]
    cache.route_each([gate for gate, n in zip(gates, counts, strict=True) for _ in range(n)])
    objective = OwnAdapters(engine, encoded, cache, chunks)
    vectors = np.stack([adapter.vector for adapter in adapters])
    bias = np.stack([adapter.bias(objective.choices) for adapter in adapters])
    scores = objective.choice_scores(np.arange(len(encoded)), vectors)[0] + bias
    below = scores - scores.max(-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(-1, keepdims=True)), dtype=np.float32)


def in_parts(engine: Engine, encoded: Sequence[Encoded]) -> Iterator[slice]:
    """Rows to run at a time: at most `MOST_ROWS`, and as many as a cache in memory holds."""
    manifest = engine.bundle.manifest
    most, start = plan_chunks(manifest, Budget(), False).cache, 0
    while start < len(encoded):
        part = encoded[start : start + MOST_ROWS]
        while len(part) > 1 and cache_size(manifest, items_of(part))[0] > most:
            part = part[: len(part) // 2]
        yield slice(start, start + len(part))
        start += len(part)


class OwnAdapters(Objective):
    """Scores of examples that have an adapter each, in the place of lanes that they share.

    Lanes (N, n) are then one adapter for each of the N examples, and scores have a single lane.
    """

    def _token_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        context = self._cache.context(self._first[batch])
        found = np.concatenate(
            [
                self._engine.choose(part, adapters, self._candidates)
                for part, _, adapters in self._runs(context, lanes[batch])
            ],
            1,
        )
        examples = [self._examples[i] for i in batch]
        columns = [np.searchsorted(self._candidates, e.tokens or ()) for e in examples]
        return [(found[:, at][:, columns[at]], e) for at, e in enumerate(examples)]

    def _sequence_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        examples = [self._examples[i] for i in batch]
        context, targets, weights = self._sequences(batch)
        counts = [len(example.items) for example in examples]
        nats = np.concatenate(
            [
                self._engine.probe(part, adapters, targets[rows], weights[rows])
                for part, rows, adapters in self._runs(context, np.repeat(lanes[batch], counts, 0))
            ],
            1,
        )
        return list(zip(np.split(-nats, np.cumsum(counts)[:-1], axis=1), examples, strict=True))

    def _runs(self, context: Context, adapters: Floats) -> Iterator[tuple[Context, slice, Floats]]:
        """One run for all rows; one for each where the engine takes one adapter a run."""
        if self._engine.mixes:
            yield replace(context, each=True), slice(None), adapters
            return
        for at in range(len(adapters)):
            row = slice(at, at + 1)
            yield context.some(row), row, adapters[row]
