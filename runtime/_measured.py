"""Measuring versions of the adapter on examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example, Labels, Row
from dsa_edge.gate import check_gate
from dsa_edge.runtime._cache import PromptCache, cache_size
from dsa_edge.runtime._encode import Encoded, Encoder, longest
from dsa_edge.runtime._engine import Engine, Floats, Ints
from dsa_edge.runtime._memory import reset_peak, steady_peaks
from dsa_edge.runtime._objective import Objective, Scores, items_of
from dsa_edge.runtime._plan import MB, Budget, Chunks, least_work, plan_chunks, room_for_base
from dsa_edge.runtime._prompts import group_of
from dsa_edge.runtime._report import Evaluation
from dsa_edge.runtime._shots import pick_shots
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._trainer import evaluation
from dsa_edge.runtime._versions import Versions
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Measured"]

EVALUATED = 128  # examples whose prompts are cached at a time while evaluating
EVALUATED_BYTES = 256 * MB  # of such caches at most, but for one example's


class Measured(Versions):
    """The adapters of one user, and the engine that runs them.

    sparse: while learning, run prompts that are longer than the bundle's attention group by shifted
        sparse attention, where the engine can; all else is by full attention.
    tokenizer: of the bundle, where several users share one; None reads it anew.
    """

    sparse = True

    def __init__(self, engine: Engine, store: Store, tokenizer: Tokenizer | None = None) -> None:
        super().__init__(engine.bundle, store)
        self._engine = engine
        self._tokenizer = tokenizer or Tokenizer.of(self.bundle)
        self._encoder = Encoder(self._tokenizer, self.bundle.manifest)

    def pick_shots(
        self,
        labels: Labels,
        rows: Sequence[Row],
        shots: int = 4,
        tries: int = 24,
        judges: int = 96,
        seed: int = 0,
        on_judged: Callable[[int, int], object] = lambda done, total: None,
    ) -> tuple[Labels, list[Row]]:
        """Put the best worked examples out of labelled rows, (text, label) each, into the prompt.

        tries: sets that are drawn; the best are measured on `judges` other rows, at most half.
        on_judged: called with how many prompts have been run, and of how many.
        Returns the labels to make prompts with from now on, and the rows that are left to learn.
        Raises ExampleError when there are too few rows of each label, UsageError for no tries.
        """

        def score(examples: Sequence[Example]) -> tuple[Floats, Ints]:
            objective = self._objective(self._encoder.encode_all(examples), Budget())
            objective.route_by(self.adapter.gate)
            lanes = self.adapter.vector[None]
            scores = objective.choice_scores(np.arange(len(examples)), lanes)[0]
            return scores, objective.answers

        labels = replace(labels, plain=self._tokenizer.plain)
        return pick_shots(labels, rows, score, shots, tries, judges, seed, on_judged)

    def evaluate(
        self,
        examples: Sequence[Example],
        versions: Sequence[int | Adapter] | None = None,
        on_example: Callable[[int], object] | None = None,
        budget: Budget | None = None,
    ) -> list[Evaluation]:
        """Loss and accuracy of versions or adapters on examples, by default of the one in use.

        All of them share the cached prompts: comparing two costs little more than one.
        on_example: called with the number of examples just done.
        budget: of it, `memory_mb` alone counts.
        Raises ExampleError without examples, and BudgetError where memory is too little.
        """
        if not examples:
            raise ExampleError("there are no examples to evaluate on: give at least one.")
        chosen = [self.version] if versions is None else versions
        adapters = [a if isinstance(a, Adapter) else self._version(a) for a in chosen]
        for adapter in adapters:
            trained = bool(adapter.vector.any())
            check_gate(adapter.gate, self.bundle.manifest.gate_shape, trained, "the adapter")
        encoded = self._encoder.encode_all(examples)
        losses, right = [], []
        by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i].items[0].prompt))
        for part in self._evaluated([encoded[i] for i in by_length]):
            scores = self._scored(part, adapters, budget)
            losses.append(scores.losses)
            right.append(scores.right)
            if on_example:
                on_example(len(part))
        pairs = zip(np.concatenate(losses, 1), np.concatenate(right, 1), strict=True)
        return [evaluation(*pair) for pair in pairs]

    def _scored(
        self, part: Sequence[Encoded], adapters: Sequence[Adapter], budget: Budget | None
    ) -> Scores:
        """Losses of adapters on examples, whose prompts are forgotten afterwards."""
        objective = self._bounded(part, budget)
        if self.bundle.manifest.adapter.blocks == 1:
            return _together(objective, adapters)
        scores = []
        for adapter in adapters:  # each has routes of its own
            objective.route_by(adapter.gate)
            scores.append(_together(objective, [adapter]))
        return Scores(
            np.concatenate([score.losses for score in scores]),
            np.concatenate([score.right for score in scores]),
        )

    def _evaluated(self, encoded: Sequence[Encoded]) -> Iterator[Sequence[Encoded]]:
        """Examples to evaluate at a time: as many as their caches allow, one at least."""
        start = 0
        while start < len(encoded):
            part = encoded[start : start + EVALUATED]
            while len(part) > 1 and self._cache_bytes(part) > EVALUATED_BYTES:
                part = part[: len(part) // 2]
            yield part
            start += len(part)

    def _cache_bytes(self, encoded: Sequence[Encoded]) -> int:
        return cache_size(self.bundle.manifest, items_of(encoded))[0]

    def _bounded(self, encoded: Sequence[Encoded], budget: Budget | None) -> Objective:
        """`_objective` that holds the base once at a time, where memory has a bound."""
        if budget is None or budget.memory_mb is None:
            return self._objective(encoded, budget or Budget())
        self._prepare(budget)
        objective = self._objective(encoded, budget)
        self._engine.release("prefill")
        return objective

    def _prepare(self, budget: Budget) -> None:
        """Free what caching prompts does not need, and measure from here on."""
        steady_peaks()
        self._engine.release("probe", "choose", "decode")
        reset_peak()

    def _objective(
        self,
        encoded: Sequence[Encoded],
        budget: Budget,
        on_prefill: Callable[[int], object] | None = None,
        deadline: float | None = None,
        growth: int = 0,
        group: int | None = None,
    ) -> Objective:
        """The loss over examples whose prompts are now cached, fewer of them after a deadline."""
        chunks = self._chunks(encoded, budget, growth, group)
        return self._within(encoded, chunks, on_prefill, deadline, group)

    def _within(
        self,
        encoded: Sequence[Encoded],
        chunks: Chunks,
        on_prefill: Callable[[int], object] | None = None,
        deadline: float | None = None,
        group: int | None = None,
    ) -> Objective:
        """`_objective` within bounds that are settled already."""
        counts = [len(example.items) for example in encoded]
        cache = PromptCache(
            self._engine, items_of(encoded), chunks, self._store.folder,
            on_prefill or (lambda _: None), deadline, max(counts), self._store.sealed,
            group,
        )  # fmt: skip
        ends = np.cumsum(counts)
        return Objective(self._engine, encoded[: int((ends <= cache.ready).sum())], cache, chunks)

    def _group(self, encoded: Sequence[Encoded]) -> int | None:
        """Tokens of a group of sparse attention to learn from these examples by; None for full."""
        wanted = self._wanted(longest(encoded))
        return wanted if self._engine.grouped else None

    def _wanted(self, tokens: int) -> int | None:
        """The same for a longest prompt of so many tokens, whatever the engine can."""
        group = group_of(self.bundle.manifest) if self.sparse else None
        return group if group is not None and tokens > group else None

    def _chunks(
        self,
        encoded: Sequence[Encoded],
        budget: Budget,
        growth: int = 0,
        group: int | None = None,
    ) -> Chunks:
        """What one run of the engine, and the prompt cache, may hold."""
        full_head = any(example.tokens is None for example in encoded)
        tail = max(len(item.tail) for example in encoded for item in example.items)
        return self._planned(budget, full_head, longest(encoded), tail, growth, group)

    def _planned(
        self,
        budget: Budget,
        full_head: bool,
        longest: int,
        tail: int = 0,
        growth: int = 0,
        group: int | None = None,
    ) -> Chunks:
        """`plan_chunks`, once the engine holds no more of the base than the work leaves room."""
        manifest, engine = self.bundle.manifest, self._engine
        least = least_work(manifest, full_head, longest, tail, group)
        engine.keep_within(room_for_base(budget.memory_mb, least))
        return plan_chunks(
            manifest, budget, full_head, engine.loaded_mb, growth, longest, group, tail
        )


def _together(objective: Objective, adapters: Sequence[Adapter]) -> Scores:
    """Losses of adapters on all examples of an objective, as lanes of one run."""
    if objective.choices:
        objective.bias = np.stack([objective.bias_of(a) for a in adapters])
    return objective(np.arange(len(objective)), np.stack([a.vector for a in adapters]))
