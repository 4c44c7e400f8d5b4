"""Merging: W + B A as one weight, and why that is refused for a quantized base.

What was learned is far smaller than the steps of 4 bits, so rounding the sum to them loses most of
it. How much is measured, not guessed: with Q the rounding to the base's own bits and W as the
bundle holds it,

    lost = ‖Q(W + B A) − W − B A‖ / ‖B A‖        of each linear, and of all together

on the better of two grids: the one that W is stored on, and one fitted anew. Forced, the merged
model is written in float32 instead, four to eight times the size, which keeps all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.runtime.interchange._base import Base, Quantized, open_base
from dsa_edge.runtime.interchange._checkpoint import write_checkpoint
from dsa_edge.runtime.interchange._deltas import Delta, deltas
from dsa_edge.runtime.interchange._export import new_folder
from dsa_edge.runtime.interchange._import import acts_elsewhere

__all__ = ["Loss", "Merged", "merge_adapter", "merge_loss"]


@dataclass(frozen=True)
class Loss:
    """Root mean square error of what rounding leaves of an adapter, over its root mean square.

    lost: over all linears together, 0 for none of it; linears: of each by name. bits: of the base.
    """

    bits: int
    lost: float
    linears: dict[str, float]

    @property
    def worst(self) -> str:
        """The linear that loses most."""
        return max(self.linears, key=lambda name: self.linears[name])


@dataclass(frozen=True)
class Merged:
    """What a merge wrote: a Hugging Face folder in float32, and what 4 bits would have lost."""

    folder: Path
    bytes: int
    loss: Loss
    notes: tuple[str, ...]


def merge_loss(bundle: Bundle, adapter: Adapter) -> Loss:
    """How much of an adapter is lost when it is merged into the bundle's own quantized weights.

    Raises AdapterError for an adapter that adds nothing, or is no low-rank change of weights.
    """
    return _loss(open_base(bundle), deltas(bundle, adapter))


def merge_adapter(
    bundle: Bundle, adapter: Adapter, folder: str | Path, force: bool = False
) -> Merged:
    """Refuse to merge into a quantized base, telling what would be lost; forced, write float32.

    folder: new or empty; gets a Hugging Face model that transformers and `dsa-edge export` read.
    """
    base, found = open_base(bundle), deltas(bundle, adapter)
    loss = _loss(base, found)
    if not force:
        raise AdapterError(
            f"merging into this base of {loss.bits} bits would lose {loss.lost:.0%} of what was "
            f"learned (relative RMS error; {loss.worst}: {loss.linears[loss.worst]:.0%}), and act "
            "on every token of a prompt: keep the adapter beside the base, or give --force for a "
            "merged model in float32."
        )
    place = new_folder(folder)
    size = write_checkpoint(bundle, base, found, place)
    return Merged(place, size, loss, (acts_elsewhere(bundle.manifest.adapter),))


def _loss(base: Base, found: list[Delta]) -> Loss:
    squares = {
        f"layers.{delta.layer}.{delta.target}": _squares(
            base.quantized(f"layers.{delta.layer}.{delta.target}"), delta
        )
        for delta in found
    }
    changed = {name: pair for name, pair in squares.items() if pair[1]}
    if not changed:
        raise AdapterError("the adapter adds nothing to the base: learn something first.")
    bits = max(base.quantized(name).bits for name in changed)
    errors, sizes = (sum(pair[i] for pair in changed.values()) for i in (0, 1))
    linears = {name: float(np.sqrt(error / size)) for name, (error, size) in changed.items()}
    return Loss(bits, float(np.sqrt(errors / sizes)), linears)


def _squares(weight: Quantized, delta: Delta) -> tuple[float, float]:
    """Squared error on the better grid, and the delta's own square."""
    dense, change = weight.dense, delta.dense
    wanted = dense + change
    errors = [_square(rounded - wanted) for rounded in weight.rounded(wanted)]
    return min(errors), _square(change)


def _square(values: np.ndarray) -> float:
    return float(np.square(values, dtype=np.float64).sum())
