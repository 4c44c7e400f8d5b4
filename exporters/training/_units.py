"""What can be dropped of a layer, what it weighs, and how much to drop to reach a share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import UsageError
from dsa_edge.exporters.decoder import DecoderSpec
from dsa_edge.kernels.quantized_linear import GROUP
from dsa_edge.kinds import TARGETS
from dsa_edge.pruned import BLOCK

__all__ = ["Importance", "Units"]

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """What dropping each unit is expected to cost, in one currency for both sorts.

    kv: (layers, KV groups); ffn: (layers, blocks of neurons).
    targets: of the adapter, by point; directions: slot → (r,) of its singular directions.
    """

    kv: Scores
    ffn: Scores
    targets: dict[str, float] = field(default_factory=dict)
    directions: dict[str, Scores] = field(default_factory=dict)

    def cost(self, groups: int, blocks: int) -> float:
        """Of dropping the least important ones, so many in every layer, by their sum."""
        kv, ffn = np.sort(self.kv, 1), np.sort(self.ffn, 1)
        return float(kv[:, :groups].sum() + ffn[:, :blocks].sum())


@dataclass(frozen=True)
class Units:
    """The units of one layer: how many of each sort, and the weights of one.

    whole: whether groups of the quantizer end where KV groups do; only then can these be dropped
    without touching the bits of what stays.
    """

    kv_groups: int
    ffn_blocks: int
    group_weights: int
    block_weights: int
    layer_weights: int
    whole: bool

    @classmethod
    def of(cls, spec: DecoderSpec) -> Units:
        """The units of a model's layers; raises UsageError where neurons do not make blocks."""
        if spec.ffn_width % BLOCK:
            raise UsageError(
                f"this model has {spec.ffn_width} neurons a layer, expected a multiple of {BLOCK}: "
                "it cannot be pruned in blocks; leave --prune out."
            )
        heads = spec.n_heads // spec.n_kv_heads * spec.head_dim  # inputs of `o` in one KV group
        return cls(
            kv_groups=spec.n_kv_heads,
            ffn_blocks=spec.ffn_width // BLOCK,
            group_weights=2 * (heads + spec.head_dim) * spec.width,
            block_weights=3 * BLOCK * spec.width,
            layer_weights=sum(math.prod(spec.target_shape(target)) for target in TARGETS),
            whole=heads % GROUP == 0,
        )

    def share(self, groups: int, blocks: int) -> float:
        """Of a layer's weights that so many units are."""
        return (groups * self.group_weights + blocks * self.block_weights) / self.layer_weights

    def candidates(self, share: float, groups: int | None = None) -> list[tuple[int, int]]:
        """Pairs (KV groups, blocks) to drop that reach a share with less than a unit too much.

        At least one of each stays. groups: how many of them, where the caller has decided.
        Raises UsageError when the share cannot be reached.
        """
        most = self.kv_groups - 1 if self.whole else 0
        if groups is not None and not 0 <= groups <= most:
            raise UsageError(
                f"{groups} KV groups are to be dropped, this model's layers have {self.kv_groups} "
                f"of which at most {most} can be: lower it, or leave it out."
            )
        tried = range(most + 1) if groups is None else [groups]
        pairs = [(g, self._blocks(share, g)) for g in tried]
        fitting = [(g, b) for g, b in pairs if b < max(self.ffn_blocks, 1)]
        if not fitting:
            largest = self.share(most if groups is None else groups, max(self.ffn_blocks - 1, 0))
            raise UsageError(
                f"{share:.0%} of each layer are to be pruned, but at most {largest:.1%} of this "
                f"model's can be ({self.kv_groups} KV groups, {self.ffn_blocks} blocks of {BLOCK} "
                "neurons, one of each stays): lower --prune."
            )
        close = [pair for pair in fitting if self.share(*pair) < share + self._unit]
        return close or fitting[:1]

    @property
    def _unit(self) -> float:
        return self.block_weights / self.layer_weights

    def _blocks(self, share: float, groups: int) -> int:
        """Fewest blocks that, with so many KV groups, reach a share."""
        missing = share * self.layer_weights - groups * self.group_weights
        return max(0, math.ceil(missing / self.block_weights - 1e-9))
