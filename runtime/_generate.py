"""Generation: prompt into a cache with the base, then token by token with the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsa_edge.errors import EngineError, UsageError
from dsa_edge.runtime._cache import no_prefix
from dsa_edge.runtime._engine import Engine, Floats, Halves, Ints

__all__ = ["NOT_NUMBERS", "Sampling", "generate_ids"]

NOT_NUMBERS = (
    "with the adapter in use the model's output is not a number: go back to an earlier version, or "
    "load another adapter."
)
GROW = 64  # positions by which a full cache grows


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


class _Cache:
    """Keys and values of all layers with room to grow, so that decoding copies nothing."""

    def __init__(self, keys: Halves, values: Halves, room: int) -> None:
        self.length = keys.shape[3]
        self.keys, self.values = _grown(keys, room), _grown(values, room)

    def append(self, keys: Halves, values: Halves) -> None:
        new = keys.shape[3]
        if self.length + new > self.keys.shape[3]:
            self.keys, self.values = _grown(self.keys, GROW), _grown(self.values, GROW)
        self.keys[:, :, :, self.length : self.length + new] = keys
        self.values[:, :, :, self.length : self.length + new] = values
        self.length += new


def generate_ids(
    engine: Engine,
    prompt: Ints,
    invocation: Ints,
    adapter: Floats,
    sampling: Sampling,
    max_tokens: int,
    stop: tuple[int, ...],
) -> Iterator[int]:
    """Yield token ids until one of `stop`, or `max_tokens`.

    prompt: (P,) cached with the base; invocation: the rest of the prompt; adapter: (n,).
    """
    prefix = no_prefix(engine.bundle.manifest)
    prefilled = engine.prefill(prefix, prompt[None], invocation[None], np.array([len(prompt)]))
    cache = _Cache(prefilled.keys, prefilled.values, GROW)
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
        )
        cache.append(result.new_keys, result.new_values)
        token = sampling.draw(result.logits[0], random)
        if token in stop:
            return
        yield token
        tokens = np.array([token])


def _grown(cache: Halves, room: int) -> Halves:
    padding = [(0, 0)] * 5
    padding[3] = (0, room)
    return np.pad(cache, padding)
