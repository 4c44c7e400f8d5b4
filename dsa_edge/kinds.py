"""Kinds of adapters: at which points of a layer each may act, and what it trains there.

A point is where a layer's value y, made from x, may be changed: behind a linear, behind a norm (x
is then y), or behind a whole sublayer (x is what the sublayer read). What a kind computes is in
`exporters/adapters/`, one file each; what it trains is here, for devices have no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "MODULES", "POINTS", "TARGETS", "Geometry", "Kind"]

TARGETS = ("q", "k", "v", "o", "gate", "up", "down")
MODULES = {  # of a layer, in Hugging Face's words
    **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")},
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}
NORMS = ("attention_norm", "mlp_norm")
SUBLAYERS = ("attention", "mlp")
# In the order in which a layer computes them, which is that of the slots.
POINTS = (
    "attention_norm", "q", "k", "v", "o", "attention", "mlp_norm", "gate", "up", "down", "mlp"
)  # fmt: skip

Parts = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Geometry:
    """The sizes of a model that an adapter's depend on."""

    n_layers: int
    width: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn_width: int

    @classmethod
    def of(cls, decoder: Mapping[str, Any]) -> Geometry:
        """From a manifest's `decoder`."""
        return cls(**{name: int(decoder[name]) for name in cls.__dataclass_fields__})

    def shape(self, point: str) -> tuple[int, int]:
        """Widths (n_out, n_in) of y and x at a point."""
        heads, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        outputs = {"q": heads, "k": kv, "v": kv, "gate": self.ffn_width, "up": self.ffn_width}
        inputs = {"o": heads, "down": self.ffn_width}
        return outputs.get(point, self.width), inputs.get(point, self.width)


@dataclass(frozen=True)
class Kind:
    """What one kind trains.

    parts: of (n_out, n_in, rank), the trained tensors at a point, by name; a single one has none.
    limit: of the same, why a rank does not fit there, or None.
    points: where it may act. default: where it does unless told. rank: unless told.
    gated: whether its op routes, so that a target may have several blocks.
    """

    parts: Callable[[int, int, int], Parts]
    limit: Callable[[int, int, int], str | None]
    points: tuple[str, ...] = TARGETS
    default: tuple[str, ...] = TARGETS
    rank: int = 16
    gated: bool = False


def _directions(n_out: int, n_in: int, rank: int) -> str | None:
    most = min(n_out, n_in)
    return None if rank <= most else f"has {most} singular directions"


def _one(n_out: int, n_in: int, rank: int) -> str | None:
    return None if rank == 1 else "has one number an output, which is rank 1"


def _divides(n_out: int, n_in: int, rank: int) -> str | None:
    if n_out % rank == 0 and n_in % rank == 0:
        return None
    return f"is {n_out} × {n_in}, and both must be multiples of the rank"


def _entries(n_out: int, n_in: int, rank: int) -> str | None:
    most = n_out * n_in
    return None if rank * rank <= most else f"has {most} entries, fewer than rank × rank"


def _columns(n_out: int, n_in: int, rank: int) -> str | None:
    return None if rank <= n_in else f"has {n_in} columns"


_NETWORK = Kind(
    lambda n_out, n_in, m: {"down": (m, n_in), "up": (n_out, m)},
    _directions,
    points=SUBLAYERS,
    default=SUBLAYERS,
    rank=4,
)
KINDS = {
    "core": Kind(lambda n_out, n_in, r: {"": (r, r)}, _directions, gated=True),
    "diagonal": Kind(lambda n_out, n_in, r: {"": (r,)}, _directions, rank=64, gated=True),
    "lora": Kind(lambda n_out, n_in, r: {"a": (r, n_in), "b": (n_out, r)}, _directions, rank=8),
    "lora-frozen": Kind(lambda n_out, n_in, r: {"": (n_out, r)}, _directions, rank=8),
    "kron": Kind(
        lambda n_out, n_in, k: {"a": (n_in // k,), "b": (n_out // k,), "c": (k, k)},
        _divides,
        rank=8,
    ),
    "scale": Kind(lambda n_out, n_in, r: {"": (n_out,)}, _one, rank=1),
    "bias": Kind(
        lambda n_out, n_in, r: {"": (n_out,)},
        _one,
        points=(*NORMS, *TARGETS),
        default=("attention_norm", "q", "v", "mlp_norm"),
        rank=1,
    ),
    "bottleneck": _NETWORK,
    "parallel": _NETWORK,
    "columns": Kind(lambda n_out, n_in, k: {"": (n_out, k)}, _columns, rank=1),
    "sparse": Kind(lambda n_out, n_in, r: {"": (r * r,)}, _entries),
}
