"""Masks over a decoder's units: what they scale, without a change to the decoder itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsa_edge.exporters.adapters import Lanes, Route
from dsa_edge.exporters.decoder import DecoderSpec
from dsa_edge.pruned import BLOCK

__all__ = ["MaskedLanes", "Masks", "Moved"]


class Moved:
    """How far an adapter moves what its targets give: ‖added‖ / ‖y‖, a sum over calls."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def add(self, point: str, added: Tensor, y: Tensor) -> None:
        """Count one call."""
        far = added.detach().norm() / y.detach().norm().clamp(min=1e-12)
        self.sums[point] = self.sums.get(point, 0.0) + float(far)


@dataclass(frozen=True)
class MaskedLanes(Lanes):
    """A layer's adapter, if it has one, and its masks.

    A KV group is scaled where its values leave `v`, a neuron where it leaves `up`: at 0 neither
    contributes to what follows, just as if it were not there.
    scales: point → factors (1, n_out) or, of each example, (B, 1, n_out).
    """

    scales: dict[str, Tensor]
    moved: Moved | None = None

    @property
    def count(self) -> int:
        """One lane."""
        return 1

    def add(self, point: str, x: Tensor, y: Tensor) -> Tensor:
        """Value y at a point, with what the adapter adds, masked."""
        changed = super().add(point, x, y)
        if self.moved is not None and point in self.bound:
            active = self.route.active
            self.moved.add(point, (changed - y)[:, active], y[:, active])
        return changed * self.scales[point] if point in self.scales else changed


@dataclass(frozen=True)
class Masks:
    """One factor a unit, 1 at the start: kv (layers, KV groups), ffn (layers, blocks).

    Each may have a first axis of B examples, as `each` makes it.
    """

    kv: Tensor
    ffn: Tensor
    spec: DecoderSpec

    @classmethod
    def ones(cls, spec: DecoderSpec) -> Masks:
        """Masks that change nothing, ready to be trained."""
        blocks = spec.ffn_width // BLOCK
        kv, ffn = (torch.ones(spec.n_layers, n) for n in (spec.n_kv_heads, blocks))
        return cls(kv.requires_grad_(), ffn.requires_grad_(), spec)

    def each(self, batch: int) -> Masks:
        """The same masks for every example of a batch, which keep each example's own gradient."""
        kv, ffn = self.kv.expand(batch, -1, -1), self.ffn.expand(batch, -1, -1)
        kv.retain_grad()
        ffn.retain_grad()
        return Masks(kv, ffn, self.spec)

    def lanes(
        self, adapter: dict[int, Lanes], route: Route, moved: Moved | None = None
    ) -> dict[int, Lanes]:
        """All layers' lanes: those of the adapter where there are any, masked everywhere."""
        return {
            layer: MaskedLanes(
                adapter[layer].bound if layer in adapter else {}, route, self._of(layer), moved
            )
            for layer in range(self.spec.n_layers)
        }

    def _of(self, layer: int) -> dict[str, Tensor]:
        kv, ffn = self.kv[..., layer, :], self.ffn[..., layer, :]
        scales = {
            "v": kv.repeat_interleave(self.spec.head_dim, -1),
            "up": ffn.repeat_interleave(BLOCK, -1),
        }
        return {point: scale.unsqueeze(-2) for point, scale in scales.items()}  # for all tokens
