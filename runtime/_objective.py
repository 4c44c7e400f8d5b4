"""What is minimized: the loss of every lane on every example of a batch.

Choices that are single tokens need only the candidates' rows of the head; choices of several
tokens are scored as sequences; free responses give nats a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dsa_edge.adapter import Adapter
from dsa_edge.gate import Gate
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._calibration import ABSENT
from dsa_edge.runtime._encode import Encoded, Item, longest
from dsa_edge.runtime._engine import Context, Engine, Floats, Ints, Route
from dsa_edge.runtime._plan import Chunks
from dsa_edge.runtime._subspace import Subspace
from dsa_edge.runtime.estimators import Served, Shapes, slot_shapes

__all__ = ["Objective", "Scores", "items_of", "with_biases"]

T = TypeVar("T", bound=np.generic)

MOST_CHOICES = 32  # of all examples together that have biases; a quiz has new ones every time


def with_biases(sets: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The choices of examples' sets that have label biases, each once; none, if an example has none
    to choose among, or where several sets have too many."""
    distinct = dict.fromkeys(sets)
    words = tuple(dict.fromkeys(word for own in distinct for word in own))
    return words if all(distinct) and (len(distinct) == 1 or len(words) <= MOST_CHOICES) else ()


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

    chunks: what one run of the engine may hold; lanes and examples beyond it go into further runs,
    with the same results.
    choices: K of all examples, where each has some; an example offers its own, and its scores of
    the others are `ABSENT`. Empty without choices, or where they are too many to have biases.
    bias: (K,) or (L, K), added to the choices' log-probabilities; see `_calibration`.
    subspace: of what lanes and gradients are coordinates, n then being M; None for adapters.
    """

    def __init__(
        self, engine: Engine, examples: Sequence[Encoded], cache: PromptCache, chunks: Chunks
    ) -> None:
        self._engine, self._examples, self._cache, self._chunks = engine, examples, cache, chunks
        counts = [len(example.items) for example in examples]
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tokens = {t for example in examples for t in example.tokens or ()}
        self._candidates = np.array(sorted(tokens), dtype=np.int64)
        self._offer([(example.choices, example.answer) for example in examples])
        self.bias: Floats | None = None
        self.subspace: Subspace | None = None

    def route_by(self, gate: Gate | None) -> None:
        """Let a gate choose the blocks for every example; None leaves the choice to the engine."""
        self._cache.route_by(gate)

    def route_as(self, batch: Ints, blocks: Ints) -> None:
        """Send examples (B,) through blocks (B, k) until `route_by` is called again."""
        counts = self._first[batch + 1] - self._first[batch]
        items = [np.arange(self._first[i], self._first[i + 1]) for i in batch]
        self._cache.route_as(np.concatenate(items), np.repeat(blocks, counts, 0))

    def bias_of(self, adapter: Adapter) -> Floats:
        """An adapter's biases (K,) of the choices; zeros of a set that it does not know whole."""
        bias = np.zeros(len(self.choices), dtype=np.float32)
        for own, columns in self._columns.items():
            bias[columns] = adapter.bias(own)
        return bias

    def _offer(self, given: Sequence[tuple[tuple[str, ...], int]]) -> None:
        """Note each example's own choices, and which of them is right."""
        self.sets = tuple(dict.fromkeys(own for own, _ in given))
        self.all_choices = all(self.sets)
        self.choices = with_biases(self.sets)
        places = {word: place for place, word in enumerate(self.choices)}
        sets = self.sets if self.choices else ()
        self._columns = {own: [places[word] for word in own] for own in sets}
        right = [self._columns[own][answer] if sets else answer for own, answer in given]
        self.answers: Ints = np.array(right, dtype=np.int64)

    @property
    def pooled(self) -> Floats:
        """What a gate reads of every example's prompt (E, D)."""
        return self._cache.pooled[self._first[:-1]]

    @property
    def routes(self) -> Route | None:
        """The blocks of every example; None without a gate."""
        return self._cache.routes and self._cache.routes[self._first[:-1]]

    def __len__(self) -> int:
        return len(self._examples)

    def __call__(self, batch: Ints, lanes: Floats) -> Scores:
        """Losses of lanes (L, n) on the examples `batch` (B,)."""
        if self.choices:
            return self.scored(batch, self.choice_scores(batch, lanes))
        parts = [_scores(self._raw(batch[part], lanes)) for part in self._example_chunks(batch)]
        losses = np.concatenate([part.losses for part in parts], 1)
        return Scores(losses, np.concatenate([part.right for part in parts], 1))

    def losses(self, batch: Ints, blocks: Iterable[Floats]) -> Floats:
        """Losses (L, B) of lanes that come in blocks (l, n)."""
        return np.concatenate([self(batch, block).losses for block in blocks])

    def choice_scores(self, batch: Ints, lanes: Floats) -> Floats:
        """Log-probabilities (L, B, K) of the choices without bias, `ABSENT` of others' alone."""
        parts = [self._raw(batch[part], lanes) for part in self._example_chunks(batch)]
        scores = np.full((len(lanes), len(batch), len(self.choices)), ABSENT, dtype=np.float32)
        for at, (score, example) in enumerate(pair for part in parts for pair in part):
            scores[:, at, self._columns[example.choices]] = score
        return scores

    def own(self, batch: Ints, rows: Floats) -> list[Floats]:
        """What each example (B,) offers of rows (B, K)."""
        sets = [self._examples[index].choices for index in batch]
        return [row[self._columns[own]] for row, own in zip(rows, sets, strict=True)]

    def scored(self, batch: Ints, scores: Floats) -> Scores:
        """Losses from the choices' scores (L, B, K), bias applied."""
        answers = self.answers[batch]
        biased = self.calibrated(scores)
        wanted = np.take_along_axis(biased, answers[None, :, None], -1)[..., 0]
        losses = _log_sum(biased)[..., 0] - wanted
        won = (biased.argmax(-1) == answers) & ~np.isnan(losses)  # NaN is no right answer
        right = won.astype(np.float32)
        return Scores(losses.astype(np.float32), right)

    def calibrated(self, scores: Floats) -> Floats:
        """Scores (L, B, K) with the bias added."""
        return scores if self.bias is None else scores + self.bias[..., None, :]

    def losses_and_pulls(self, batch: Ints, theta: Floats) -> tuple[Floats, list[Floats]]:
        """Losses (B,) at θ (n,), and how the batch's mean depends on each example's own scores."""
        parts = [self._raw(batch[part], theta[None]) for part in self._example_chunks(batch)]
        scored = [pair for part in parts for pair in part]
        share = np.float32(1 / len(batch))
        return _scores(scored).losses[0], [share * _pull(*pair) for pair in scored]

    def pulled(self, batch: Ints, theta: Floats, pulls: Sequence[Floats]) -> Floats:
        """The gradient (n,) at θ (n,) of Σ pull · score over the examples' choices.

        pulls: (choices,) of each example. Raises EngineError where the engine has no gradients.
        """
        theta = self._whole(theta[None])[0]
        total = np.zeros(theta.size, dtype=np.float64)
        for part in self._example_chunks(batch):
            single = np.array([self._examples[i].tokens is not None for i in batch[part]])
            for which, pull in ((single, self._pull_tokens), (~single, self._pull_sequences)):
                at = np.flatnonzero(which)
                if at.size:
                    own = [pulls[part.start + index] for index in at]
                    total += pull(batch[part][at], theta[None], own)[0]
        gradient = total.astype(np.float32)
        return gradient if self.subspace is None else self.subspace.pulled(gradient)

    def _whole(self, lanes: Floats) -> Floats:
        """Lanes as adapters (L, n)."""
        return lanes if self.subspace is None else self.subspace.lanes(lanes)

    def _pull_tokens(self, batch: Ints, theta: Floats, pulls: Sequence[Floats]) -> Floats:
        pull = np.zeros((1, len(batch), len(self._candidates)), dtype=np.float32)
        for at, index in enumerate(batch):
            columns = np.searchsorted(self._candidates, self._examples[index].tokens or ())
            np.add.at(pull[0, at], columns, pulls[at])
        context = self._cache.context(self._first[batch])
        return self._engine.pull_choices(context, theta, self._candidates, pull)

    def _pull_sequences(self, batch: Ints, theta: Floats, pulls: Sequence[Floats]) -> Floats:
        context, targets, weights = self._sequences(batch)
        pull = -np.concatenate(pulls)[None].astype(np.float32)  # a score is minus a loss
        return self._engine.pull_losses(context, theta, targets, weights, pull)

    @property
    def shapes(self) -> Shapes:
        """Of the slots of what is learned, one after the other."""
        if self.subspace is not None:
            return ((len(self.subspace.directions),),)
        return slot_shapes(self._engine.bundle.manifest)

    @property
    def blocks(self) -> int:
        """Of each target, with numbers of their own; a direction moves all of them."""
        return 1 if self.subspace is not None else self._engine.bundle.manifest.adapter.blocks

    @property
    def active(self) -> int:
        """Blocks that serve an example."""
        return self._engine.bundle.manifest.adapter.active

    def served(self, batch: Ints) -> Served | None:
        """Which of N blocks serve some examples, (B, N); None without several."""
        if self.blocks == 1:
            return None
        route = self.routes[batch] if self.routes else Route.first(len(batch), self.active)
        return route.serves(self.blocks)

    @property
    def group(self) -> int | None:
        """Tokens of a group of the sparse attention that prompts were run by; None for full."""
        return self._cache.group

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return longest(self._examples)

    @property
    def memory(self) -> int:
        """Bytes of prompt cache that are held in memory."""
        return 0 if self._cache.spilled else self._cache.bytes

    def tokens(self, batch: Ints) -> int:
        """Response tokens that one lane runs for these examples."""
        return sum(len(item.tail) for i in batch for item in self._examples[i].items)

    def log_probs(self, index: int, adapter: Floats) -> Floats:
        """Log-probabilities (choices,) of one example's choices under an adapter (n,)."""
        scores = self.calibrated(self.choice_scores(np.array([index]), adapter[None]))[0, 0]
        return np.asarray(scores - _log_sum(scores), dtype=np.float32)

    def _example_chunks(self, batch: Ints) -> list[slice]:
        """Slices of the batch that fit one run: their rows with one lane, and their caches."""
        slices, start = [], 0
        rows, past, items = 0, 0, 0  # longest tail, longest prompt, items of the current slice
        for at, index in enumerate(batch):
            own = self._examples[index].items
            wide = max(rows, *(len(item.tail) for item in own))
            long = max(past, *(len(item.prompt) for item in own))
            count = items + len(own)
            full = count * wide > self._chunks.probe_rows(long + wide)
            read = self._cache.padded_bytes(count, long)
            if (full or read > self._chunks.context) and at > start:
                slices.append(slice(start, at))
                start, count = at, len(own)
                wide = max(len(item.tail) for item in own)
                long = max(len(item.prompt) for item in own)
            rows, past, items = wide, long, count
        return [*slices, slice(start, len(batch))]

    def _lane_chunks(self, lanes: Floats, context: Context) -> list[Floats]:
        examples, tail, _ = context.hidden.shape
        keys = context.prefix.length + context.keys.shape[3] + tail
        count = max(1, self._chunks.probe_rows(keys) // (examples * tail))
        return [lanes[i : i + count] for i in range(0, len(lanes), count)]

    def _raw(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        """Each example's scores (L, choices): log-probabilities, up to a constant."""
        single = np.array([self._examples[i].tokens is not None for i in batch])
        scored: dict[int, tuple[Floats, Encoded]] = {}
        for which, score in ((single, self._token_scores), (~single, self._sequence_scores)):
            at = np.flatnonzero(which)
            if at.size:
                scored.update(zip(at.tolist(), score(batch[at], lanes), strict=True))
        return [scored[at] for at in range(len(batch))]

    def _token_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        context = self._cache.context(self._first[batch])
        chunks = self._lane_chunks(lanes, context)
        parts = [self._engine.choose(context, self._whole(c), self._candidates) for c in chunks]
        log_probs = np.concatenate(parts)  # (L, B, C)
        examples = [self._examples[i] for i in batch]
        columns = [np.searchsorted(self._candidates, e.tokens or ()) for e in examples]
        return [(log_probs[:, at][:, columns[at]], e) for at, e in enumerate(examples)]

    def _sequence_scores(self, batch: Ints, lanes: Floats) -> list[tuple[Floats, Encoded]]:
        examples = [self._examples[i] for i in batch]
        context, targets, weights = self._sequences(batch)
        chunks = self._lane_chunks(lanes, context)
        parts = [self._engine.probe(context, self._whole(c), targets, weights) for c in chunks]
        nats = np.concatenate(parts)
        ends = np.cumsum([len(example.items) for example in examples])
        return list(zip(np.split(-nats, ends[:-1], axis=1), examples, strict=True))

    def _sequences(self, batch: Ints) -> tuple[Context, Ints, Floats]:
        """The items of examples that are scored as sequences: context, targets and weights."""
        items = items_of([self._examples[i] for i in batch])
        context = self._cache.context(
            np.concatenate([np.arange(self._first[i], self._first[i + 1]) for i in batch])
        )
        rows = context.hidden.shape[1]
        targets = _padded([item.targets for item in items], rows)
        return context, targets, _padded([item.weights for item in items], rows)


def _pull(score: Floats, example: Encoded) -> Floats:
    """How an example's loss depends on its scores (1, choices)."""
    if score.shape[1] == 1:
        return np.array([-1 / example.items[0].weights.sum()], dtype=np.float32)
    pull = np.exp(score[0] - _log_sum(score)[0])
    pull[example.answer] -= 1
    return np.asarray(pull, dtype=np.float32)


def _scores(parts: list[tuple[Floats, Encoded]]) -> Scores:
    """Cross-entropy over each example's own choices; nats a token where it has only one."""
    losses, right = [], []
    for score, example in parts:  # score (L, choices)
        if score.shape[1] == 1:
            losses.append(-score[:, 0] / example.items[0].weights.sum())
            right.append(np.full(len(score), np.nan))
        else:
            losses.append(_log_sum(score)[:, 0] - score[:, example.answer])
            won = (score.argmax(1) == example.answer) & ~np.isnan(losses[-1])
            right.append(won.astype(np.float64))
    return Scores(np.stack(losses, 1).astype(np.float32), np.stack(right, 1).astype(np.float32))


def _log_sum(scores: Floats) -> Floats:
    """Log of the sum of exponentials over the last axis, which is kept: (L, 1)."""
    peak = scores.max(-1, keepdims=True)
    return np.asarray(peak + np.log(np.exp(scores - peak).sum(-1, keepdims=True)))


def _padded(rows: Sequence[NDArray[T]], width: int) -> NDArray[T]:
    """Rows of different lengths as one array (N, width), zeros behind."""
    out = np.zeros((len(rows), width), dtype=rows[0].dtype)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out
