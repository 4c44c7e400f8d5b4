"""Adapters as torch modules: one file a kind, with its equation and its paper."""

from __future__ import annotations

from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.exporters.adapters._block import Block, Lanes, LayerBlocks, Route
from dsa_edge.exporters.adapters.bottleneck import Bottleneck, Parallel
from dsa_edge.exporters.adapters.core import Core
from dsa_edge.exporters.adapters.entries import Columns, Sparse
from dsa_edge.exporters.adapters.kron import Kron
from dsa_edge.exporters.adapters.lora import FrozenLora, Lora
from dsa_edge.exporters.adapters.scale import Bias, Scale
from dsa_edge.kinds import Geometry

__all__ = ["BLOCKS", "Block", "Lanes", "LayerBlocks", "Route", "make_blocks"]

BLOCKS: dict[str, type[Block]] = {
    "core": Core,
    "diagonal": Core,
    "lora": Lora,
    "lora-frozen": FrozenLora,
    "kron": Kron,
    "scale": Scale,
    "bias": Bias,
    "bottleneck": Bottleneck,
    "parallel": Parallel,
    "columns": Columns,
    "sparse": Sparse,
}


def make_blocks(
    spec: AdapterSpec, geometry: Geometry, frozen: dict[str, dict[str, Tensor]]
) -> LayerBlocks:
    """The blocks of one layer from the frozen buffers of its points."""
    kind = BLOCKS[spec.kind]
    return LayerBlocks(
        {point: kind(point, spec.parts(geometry, point), frozen[point]) for point in spec.points}
    )
