"""The gate: which blocks of an adapter serve a prompt.

A gate scores every block for a prompt, from the mean hidden state of the prompt's tokens at the
split layer, and the best few serve it, for the whole response. The first token of a text is not in
the mean: its state is hundreds of times the others whatever the text says (massive activations,
2402.17762; attention sinks, 2309.17453), so that it would tell of the prompt's length alone.

    score_i = weight_i · pooled + bias_i        route = the `active` blocks of highest score

No adapter acts below the split layer or on a prompt, so a route depends on the base and the gate
alone. Equal scores go to the lower index, and every chosen block counts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import AdapterError, UsageError

__all__ = ["Gate", "Route", "check_gate", "evenness", "route_notes", "routes_of"]

UNEVEN = 0.3  # of the entropy that blocks serving alike would have
COLLAPSED = 0.9  # of the prompts; a block that serves more leaves the others nothing to learn

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Route:
    """The blocks that serve each of B examples: index (B, K) int64, weight (B, K) float32."""

    index: NDArray[np.int64]
    weight: Floats

    @classmethod
    def of(cls, index: NDArray[np.int64]) -> Route:
        """Chosen blocks (B, K), each of which counts 1 / K."""
        share = np.float32(1 / index.shape[1])
        return cls(index.astype(np.int64), np.full(index.shape, share, dtype=np.float32))

    @classmethod
    def first(cls, batch: int, active: int) -> Route:
        """The first `active` blocks for every example, as good as any before there is a gate."""
        return cls.of(np.tile(np.arange(active), (batch, 1)))

    def __getitem__(self, some: slice | NDArray[np.int64]) -> Route:
        """The routes of some of the examples."""
        return Route(self.index[some], self.weight[some])

    def serves(self, blocks: int) -> NDArray[np.bool_]:
        """Whether each of N blocks serves an example: (B, N)."""
        return np.asarray((self.index[..., None] == np.arange(blocks)).any(-2))

    def served(self, blocks: int) -> tuple[int, ...]:
        """How many of the examples each of N blocks serves."""
        return tuple(np.bincount(self.index.ravel(), minlength=blocks).tolist())


@dataclass(frozen=True, eq=False)
class Gate:
    """weight (N, D) and bias (N,) of a linear score a block, of pooled hidden states (B, D).

    served: how many prompts each block served in the fit that the gate was last used in.
    Raises UsageError for shapes that do not belong together, or numbers that are not finite.
    """

    weight: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    served: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot score."""
        blocks = self.weight.shape[0] if self.weight.ndim == 2 else 0
        if blocks < 1 or self.bias.shape != (blocks,) or len(self.served) not in (0, blocks):
            raise UsageError(
                f"a gate has weights {self.weight.shape}, biases {self.bias.shape} and counts of "
                f"{len(self.served)} blocks, expected (N, D), (N,) and N or none: make it anew."
            )
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise UsageError("a gate's numbers are not all finite: make it anew.")

    @classmethod
    def read(cls, table: Floats, served: Sequence[int] = ()) -> Gate:
        """A gate from its table (N, D + 1): weights, and the bias as the last column."""
        return cls(table[:, :-1].copy(), table[:, -1].copy(), tuple(int(n) for n in served))

    @property
    def table(self) -> Floats:
        """The gate as it is stored: (N, D + 1)."""
        return np.concatenate([self.weight, self.bias[:, None]], 1).astype(np.float32)

    @property
    def blocks(self) -> int:
        """Number of blocks, N."""
        return len(self.bias)

    def scores(self, pooled: Floats) -> NDArray[np.float64]:
        """Scores (B, N) of pooled hidden states (B, D).

        Summed number by number in the same order for every block and any B: a product of matrices
        would break ties by where in a tile a block lies.
        """
        products = pooled.astype(np.float64)[:, None, :] * self.weight.astype(np.float64)
        return np.asarray(products.sum(-1) + self.bias)

    def route(self, pooled: Floats, active: int) -> Route:
        """The routes of pooled hidden states (B, D) through `active` blocks each."""
        ranked = np.argsort(-self.scores(pooled), axis=1, kind="stable")
        return Route.of(ranked[:, :active])


def evenness(served: Sequence[int]) -> float:
    """Entropy of the mean route, from how many prompts each of N blocks served, over log N.

    1 where all blocks serve alike, 0 where one serves all; 1 without prompts.
    """
    shares = np.array(served, dtype=np.float64) / max(1, sum(served))
    shares = shares[shares > 0]
    if not shares.size or len(served) < 2:
        return 1.0
    return abs(float(-(shares * np.log(shares)).sum() / np.log(len(served))))


def route_notes(served: Sequence[int], prompts: int) -> tuple[str, ...]:
    """Whether blocks have collapsed into one, or are never chosen; nothing for one block.

    served: how many of the prompts each block serves.
    """
    most = max(range(len(served)), key=lambda block: served[block], default=0)
    idle = [str(block) for block, count in enumerate(served) if not count]
    notes = []
    if served and served[most] > COLLAPSED * prompts:
        notes.append(
            f"block {most} serves {served[most]} of {prompts} prompts, so the gate has little to "
            "choose: give prompts that differ more, or export with fewer --blocks"
        )
    elif served and evenness(served) < UNEVEN:
        notes.append(
            f"routes have {evenness(served):.0%} of the entropy that they would have if blocks "
            "served alike, so few blocks learn much: fewer --blocks would do"
        )
    if idle:
        which = f"blocks {', '.join(idle)} serve" if len(idle) > 1 else f"block {idle[0]} serves"
        notes.append(f"{which} none of the prompts and learned nothing")
    return tuple(notes)


def routes_of(gates: Sequence[Gate | None], pooled: Floats, active: int) -> Route:
    """The routes of pooled hidden states (B, D), each by a gate of its own.

    Without a gate the first blocks serve, as good as any.
    """
    first = Route.first(1, active)
    found = [
        first if gate is None else gate.route(states[None], active)
        for gate, states in zip(gates, pooled, strict=True)
    ]
    return Route.of(np.concatenate([route.index for route in found]))


def check_gate(gate: Gate | None, shape: tuple[int, int] | None, trained: bool, what: str) -> None:
    """Refuse an adapter whose gate is not one of this bundle's.

    shape: (N, D) that the bundle wants; None where it has one block. trained: whether the adapter
    changes anything, which one from before there was a gate does not. what: names the adapter.
    Raises AdapterError.
    """
    found = None if gate is None else gate.weight.shape
    if found == shape or (gate is None and not trained):
        return
    raise AdapterError(
        f"{what} has {_told(found)}, this bundle wants {_told(shape)}: use an adapter that was "
        "trained on it."
    )


def _told(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "no gate"
    return f"a gate of {shape[0]} blocks over {shape[1]} numbers"
