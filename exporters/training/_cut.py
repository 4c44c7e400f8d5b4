"""A pruned base as a source of weights: the stored bits of what stays, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.exporters.decoder import DecoderSpec, QuantizedWeight
from dsa_edge.exporters.decoder._build import WeightSource
from dsa_edge.kernels.quantized_linear import GROUP
from dsa_edge.kinds import TARGETS
from dsa_edge.pruned import BLOCK, Kept

__all__ = ["Cut", "PrunedSource"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Which units stay, a tuple of rising indices a layer, and what that makes of each linear.

    spec: of the base before.
    """

    spec: DecoderSpec
    kv_groups: Kept
    ffn_blocks: Kept

    @property
    def pruned(self) -> DecoderSpec:
        """The geometry that is left, the same for all layers."""
        queries = self.spec.n_heads // self.spec.n_kv_heads
        kept = len(self.kv_groups[0])
        width = len(self.ffn_blocks[0]) * BLOCK
        return replace(self.spec, n_heads=kept * queries, n_kv_heads=kept, ffn_width=width)

    def rows(self, layer: int, point: str) -> Ints | None:
        """Outputs of a point that stay; None for all."""
        if point == "q":
            return self._heads(layer)
        if point in ("k", "v"):
            return _ranges(self.kv_groups[layer], self.spec.head_dim)
        return self._neurons(layer) if point in ("gate", "up") else None

    def columns(self, layer: int, point: str) -> Ints | None:
        """Inputs of a point that stay; None for all."""
        if point == "o":
            return self._heads(layer)
        return self._neurons(layer) if point == "down" else None

    def factors(
        self, layer: int, point: str, frozen: dict[str, Tensor], kept: tuple[int, ...] | None
    ) -> dict[str, Tensor]:
        """u (N, r, n_out) and v (N, n_in, r) of the weight before, cut as the weight is.

        A core on them is the same core on the base before, with what it reads and writes of the
        pruned units left out. kept: the directions that stay, None for all.
        """
        u, v = frozen["u"], frozen["v"]
        rows, columns = self.rows(layer, point), self.columns(layer, point)
        u = u if rows is None else u[..., rows]
        v = v if columns is None else v[:, columns]
        if kept is not None:
            u, v = u[:, list(kept)], v[..., list(kept)]
        return {"u": u.contiguous(), "v": v.contiguous()}

    def _heads(self, layer: int) -> Ints:
        queries = self.spec.n_heads // self.spec.n_kv_heads
        return _ranges(self.kv_groups[layer], queries * self.spec.head_dim)

    def _neurons(self, layer: int) -> Ints:
        return _ranges(self.ffn_blocks[layer], BLOCK)


class PrunedSource:
    """A checkpoint without what was pruned, under the same names."""

    def __init__(self, source: WeightSource, cut: Cut) -> None:
        self.spec, self._source, self._cut = cut.pruned, source, cut

    def has(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        return self._source.has(name)

    def weight(self, name: str) -> QuantizedWeight | NDArray[np.float32]:
        """One tensor; of quantized ones the codes, scales and minima as they are stored."""
        weight = self._source.weight(name)
        layer, point, is_bias = _place(name)
        if point not in TARGETS:
            return weight
        rows = self._cut.rows(layer, point)
        columns = None if is_bias else self._cut.columns(layer, point)
        if rows is not None:
            weight = weight.rows(rows) if isinstance(weight, QuantizedWeight) else weight[rows]
        if columns is None:
            return weight
        if isinstance(weight, QuantizedWeight):
            return weight.groups(columns[::GROUP] // GROUP)
        return np.ascontiguousarray(weight[:, columns])


def _place(name: str) -> tuple[int, str, bool]:
    """Layer, point and whether it is a bias, of `layers.3.q.bias`."""
    parts = name.split(".")
    if parts[0] != "layers":
        return -1, "", False
    return int(parts[1]), parts[2], parts[-1] == "bias"


def _ranges(kept: tuple[int, ...], size: int) -> Ints:
    """The members of kept units of `size` each, in order."""
    return (np.array(kept, dtype=np.int64)[:, None] * size + np.arange(size)).ravel()
