"""Generation: prompt into a cache with the base, then token by token with the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsa_edge.errors import EngineError, UsageError
from dsa_edge.gate import Gate
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._engine import Engine, Floats, Ints
from dsa_edge.runtime._plan import Budget, Chunks, plan_chunks
from dsa_edge.runtime._prompts import GROW, no_prefix, run_prompt

__all__ = ["NOT_NUMBERS", "Sampling", "generate_ids"]

NOT_NUMBERS = (
    "with the adapter in use the model's output is not a number: go back to an earlier version, or "
    "load another adapter."
)


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    temperature: 0 takes the likeliest; top_p: share of probability mass kept; seed: of the draws.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        if not (self.temperature >= 0 and 0 < self.top_p <= 1):
            raise UsageError(
                f"temperature is {self.temperature} and top_p is {self.top_p}, expected "
                "temperature ≥ 0 and 0 < top_p ≤ 1."
            )
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}, expected 0 or more.")

    def draw(self, logits: Floats, random: np.random.Generator) -> int:
        """A token id from logits (V,).

        Raises EngineError for logits that are not numbers: of an adapter with absurd values.
        """
        if not np.isfinite(logits.max()):
            raise EngineError(NOT_NUMBERS)
        if self.temperature == 0:
            return int(logits.argmax())
        scaled = (logits.astype(np.float64) - logits.max()) / self.temperature
        order = np.argsort(-scaled, kind="stable")
        probabilities = np.exp(scaled[order])
        probabilities /= probabilities.sum()
        # Keep the smallest set of tokens that reaches top_p, at least one (1904.09751).
        keep = int(np.searchsorted(probabilities.cumsum(), self.top_p)) + 1
        kept = probabilities[:keep] / probabilities[:keep].sum()
        return int(order[random.choice(len(kept), p=kept)])


def generate_ids(
    engine: Engine,
    prompt: Ints,
    invocation: Ints,
    adapter: Floats,
    sampling: Sampling,
    max_tokens: int,
    stop: tuple[int, ...],
    chunks: Chunks | None = None,
    gate: Gate | None = None,
) -> Iterator[int]:
    """Yield token ids until one of `stop`, or `max_tokens`.

    prompt: (P,) cached with the base; invocation: the rest of the prompt; adapter: (n,).
    chunks: what a run of the engine may hold; None leaves it to the defaults.
    gate: of the adapter's blocks; the route that it chooses holds for all that is generated.
    """
    manifest: Manifest = engine.bundle.manifest
    prefix, chunks = no_prefix(manifest), chunks or plan_chunks(manifest, Budget(), True)
    cache, _ = run_prompt(engine, prefix, prompt, invocation, chunks, room=GROW)
    if chunks.strict:  # both methods at once would hold the base twice
        engine.release("prefill")
    route = None
    if gate is not None and cache.pooled is not None:
        route = gate.route(cache.pooled[None], manifest.adapter.active)
    random = np.random.default_rng(sampling.seed)
    tokens = invocation
    for _ in range(max_tokens):
        result = engine.decode(
            tokens[None],
            prefix,
            cache.keys,
            cache.values,
            np.array([cache.length]),
            adapter[None],
            route,
        )
        cache.append(result.new_keys, result.new_values)
        token = sampling.draw(result.logits[0], random)
        if token in stop:
            return
        yield token
        tokens = np.array([token])
