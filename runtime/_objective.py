"""What is minimized: the loss of every lane on every example of a batch.

Choices that are single tokens need only the candidates' rows of the head; choices of several
tokens are scored as sequences; free responses give nats a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoded, Item
from dsa_edge.runtime._engine import Engine, Floats, Ints

__all__ = ["Objective", "Scores", "items_of"]


@dataclass(frozen=True)
class Scores:
    """losses: (L, B) nats; right: (L, B) whether the right choice wins, NaN without choices."""

    losses: Floats
    right: Floats


def items_of(examples: Sequence[Encoded]) -> list[Item]:
    """All items of the examples, in order: what a `PromptCache` for them must hold."""
    return [item for example in examples for item in example.items]


class Objective:
    """The loss over a set of examples.

    rows: response rows (lanes x examples x R) that one run of the engine may hold; lanes and
    examples beyond it go into further runs, with the same results.
    """

    def __init__(
        self, engine: Engine, examples: Sequence[Encoded], cache: PromptCache, rows: int
    ) -> None:
        self._engine, self._examples, self._cache, self._rows = engine, examples, cache, rows
        counts = [len(example.items) for example in examples]
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tokens = {t for example in examples for t in example.tokens or ()}
        self._candidates = np.array(sorted(tokens), dtype=np.int64)
        self._single = all(example.tokens is not None for example in examples)

    def __call__(self, batch: Ints, lanes: Floats) -> Scores:
        """Losses of lanes (L, n) on the examples `batch` (B,)."""
        losses = np.empty((len(lanes), len(batch)), dtype=np.float32)
        right = np.empty_like(losses)
        for examples in self._example_chunks(batch):
            part = _scores(self._choice_scores(batch[examples], lanes))
            losses[:, examples], right[:, examples] = part.losses, part.right
        return Scores(losses, right)

    def tokens(self, batch: Ints) -> int:
        """Response tokens that one lane runs for these examples."""
        return sum(len(item.tail) for i in batch for item in self._examples[i].items)

    def log_probs(self, index: int, adapter: Floats) -> Floats:
        """Log-probabilities (choices,) of one example's choices under an adapter (n,)."""
        batch = np.array([index])
        scores = self._choice_scores(batch, adapter[None])[0][0]
        return np.asarray(scores - _log_sum(scores), dtype=np.float32)[0]

    def _example_chunks(self, batch: Ints) -> list[slice]:
        """Slices of the batch whose rows fit one run with a single lane."""
        slices, start, longest, items = [], 0, 0, 0
        for at, index in enumerate(batch):
            example = self._examples[index]
            longest_now = max(longest, *(len(item.tail) for item in example.items))
            if at > start and (items + len(example.items)) * longest_now > self._rows:
                slices.append(slice(start, at))
                start, items, longest_now = at, 0, max(len(item.tail) for item in example.items)
            longest, items = longest_now, items + len(example.items)
        return [*slices, slice(start, len(batch))]

    def _lane_chunks(self, lanes: Floats, rows: int) -> list[Floats]:
        count = max(1, self._rows // rows)
        return [lanes[i : i + count] for i in range(0, len(lanes), count)]

    def _choice_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        """Each example's scores (L, choices): log-probabilities, up to a constant."""
        return (self._token_scores if self._single else self._sequence_scores)(batch, lanes)

    def _token_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        context = self._cache.context(self._first[batch])
        chunks = self._lane_chunks(lanes, context.hidden.shape[0] * context.hidden.shape[1])
        parts = [self._engine.choose(context, chunk, self._candidates) for chunk in chunks]
        log_probs = np.concatenate(parts)  # (L, B, C)
        examples = [self._examples[i] for i in batch]
        columns = [np.searchsorted(self._candidates, e.tokens or ()) for e in examples]
        return [(log_probs[:, at][:, columns[at]], e) for at, e in enumerate(examples)]

    def _sequence_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        examples = [self._examples[i] for i in batch]
        items = items_of(examples)
        context = self._cache.context(
            np.concatenate([np.arange(self._first[i], self._first[i + 1]) for i in batch])
        )
        rows = context.hidden.shape[1]
        targets = _padded([item.targets for item in items], rows, np.int64)
        weights = _padded([item.weights for item in items], rows, np.float32)
        chunks = self._lane_chunks(lanes, len(items) * rows)
        nats = np.concatenate([self._engine.probe(context, c, targets, weights) for c in chunks])
        ends = np.cumsum([len(example.items) for example in examples])
        return list(zip(np.split(-nats, ends[:-1], axis=1), examples, strict=True))


def _scores(parts: list[tuple[Floats, Encoded]]) -> Scores:
    """Cross-entropy over each example's own choices; nats a token where it has only one."""
    losses, right = [], []
    for score, example in parts:  # score (L, choices)
        if score.shape[1] == 1:
            losses.append(-score[:, 0] / example.items[0].weights.sum())
            right.append(np.full(len(score), np.nan))
        else:
            losses.append(_log_sum(score)[:, 0] - score[:, example.answer])
            right.append((score.argmax(1) == example.answer).astype(np.float64))
    return Scores(np.stack(losses, 1).astype(np.float32), np.stack(right, 1).astype(np.float32))


def _log_sum(scores: Floats) -> Floats:
    """Log of the sum of exponentials over the last axis, which is kept: (L, 1)."""
    peak = scores.max(-1, keepdims=True)
    return np.asarray(peak + np.log(np.exp(scores - peak).sum(-1, keepdims=True)))


def _padded(rows: list[Ints] | list[Floats], width: int, dtype: type) -> np.ndarray:
    out = np.zeros((len(rows), width), dtype=dtype)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out
