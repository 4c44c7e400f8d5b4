"""What the runtime asks of an inference engine: the four methods of a bundle on numpy arrays.

Shapes: L lanes, B examples, X shared prefix, P prompt, R response, T new tokens, D width, V
vocabulary, n adapter size; A adapted layers, N all layers. Caches: float16 (layers, B, kv, P, d).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.gate import Route

__all__ = [
    "Context", "Decoded", "Engine", "Floats", "Halves", "Ints", "Prefilled", "Prefix", "Route"
]  # fmt: skip

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Prefilled:
    """What the base makes of prompts and responses, independent of any adapter.

    hidden: (B, R, D) at the split layer; keys, values: (N, B, kv, P, d); pooled: (B, D).
    """

    hidden: Floats
    keys: Halves
    values: Halves
    pooled: Floats | None = None  # of whole prompts alone


@dataclass(frozen=True)
class Prefix:
    """What all rows of a batch begin with: keys, values (layers, 1, kv, X, d); X may be 0.

    pooled: (D,) mean hidden state of its tokens at the split layer, where a gate will ask for it.
    """

    keys: Halves
    values: Halves
    pooled: Floats | None = None

    @property
    def length(self) -> int:
        """Number of shared tokens, X."""
        return self.keys.shape[3]

    def layer(self, index: int) -> tuple[Halves, Halves]:
        """Keys and values (1, kv, X, d) of one of its layers."""
        return self.keys[index], self.values[index]

    def from_layer(self, first: int) -> Prefix:
        """What layers from `first` on need of it."""
        return Prefix(self.keys[first:], self.values[first:])


@dataclass(frozen=True)
class Context:
    """A batch of cached prompts, padded to one length, ready for probes.

    prefix: of the adapted layers; hidden: (B, R, D); keys, values: (A, B, kv, P, d);
    lengths: (B,) valid prompt tokens after the prefix.
    each: every example has an adapter of its own, one user's beside another's: adapter is then
        (L · B, n), one lane after the other, and no longer (L, n).
    route: blocks that serve each of them, where there are several; None leaves it to the engine.
    """

    prefix: Prefix
    hidden: Floats
    keys: Halves
    values: Halves
    lengths: Ints
    each: bool = False
    route: Route | None = None

    def lanes(self, adapter: Floats) -> int:
        """Number of lanes L of an adapter (L, n), or of one for each example, (L · B, n)."""
        return len(adapter) // len(self.lengths) if self.each else len(adapter)

    def some(self, rows: slice) -> Context:
        """A context of some of the examples."""
        keys, values = self.keys[:, rows], self.values[:, rows]
        return replace(
            self, hidden=self.hidden[rows], keys=keys, values=values, lengths=self.lengths[rows],
            route=self.route and self.route[rows],
        )  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """Next-token logits (B, V) and the keys and values (N, B, kv, T, d) of the new tokens."""

    logits: Floats
    new_keys: Halves
    new_values: Halves


class Engine(Protocol):
    """Runs a bundle. Methods load when first used and stay until released."""

    bundle: Bundle
    name: str  # of the backend
    loaded_mb: float  # memory of the largest method, once loaded
    from_storage: int  # layers that are loaded anew each time, as memory does not hold them
    gradients: bool  # whether it has `pull_losses` and `pull_choices`
    grouped: bool  # whether it has `prefill_grouped`
    mixes: bool  # whether examples of one run may have adapters of their own
    kernels: str  # what runs the adapter: an instruction set of our kernels, or a fallback

    def prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        """Run the base over prompt (B, P), of which `lengths` are valid, and response (B, R)."""
        ...

    def prefill_grouped(self, prefix: Prefix, start: int, prompt: Ints, group: int) -> Prefilled:
        """Run the base over the next part (1, P) of a prompt by shifted sparse attention.

        prefix: the tokens before it, from position `start` on; group: tokens of a group, even.
        Returns the part's hidden states (1, P, D), keys and values. Only where `grouped` says so.
        """
        ...

    def probe(self, context: Context, adapter: Floats, targets: Ints, weights: Floats) -> Floats:
        """Losses (L, B) in nats, summed over targets (B, R) with weights (B, R)."""
        ...

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        """Log-probabilities (L, B, C) of candidates (C) at the last position."""
        ...

    def pull_losses(
        self, context: Context, adapter: Floats, targets: Ints, weights: Floats, pull: Floats
    ) -> Floats:
        """Gradients (L, n) of Σ_b pull · losses, as `probe` has them; pull (L, B).

        Only where `gradients` says so.
        """
        ...

    def pull_choices(
        self, context: Context, adapter: Floats, candidates: Ints, pull: Floats
    ) -> Floats:
        """Gradients (L, n) of Σ_bc pull · log-probabilities of `choose`; pull (L, B, C)."""
        ...

    def decode(
        self,
        tokens: Ints,
        prefix: Prefix,
        keys: Halves,
        values: Halves,
        lengths: Ints,
        adapter: Floats,
        route: Route | None = None,
    ) -> Decoded:
        """Run tokens (B, T) on top of a cache (N, B, kv, P, d) of `lengths` valid tokens.

        adapter: (1, n), or (B, n) where each row has its own; only where `mixes` says so.
        route: blocks that serve them, where there are several; None takes the first.
        """
        ...

    def release(self, *methods: str) -> None:
        """Free the memory of methods that are not needed for now."""
        ...

    def keep_within(self, mb: float | None) -> None:
        """Hold no more of the base than mb, where layers can come from storage; None: all of it."""
        ...
