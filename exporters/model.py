"""A decoder with its adapter, and the reference that runs its parts on tensors."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dsa_edge.adapter import AdapterSpec, make_slots
from dsa_edge.exporters.adapters import BLOCKS, Lanes, LayerBlocks, Route, make_blocks
from dsa_edge.exporters.adapters.entries import last_columns
from dsa_edge.exporters.decoder import Decoder, Layer, Linear
from dsa_edge.exporters.decoding import decode_layer, decode_parts
from dsa_edge.exporters.gradients import layer_backwards, top_backwards
from dsa_edge.exporters.parts import layer_parts, model_parts
from dsa_edge.kinds import TARGETS

__all__ = ["AdaptedModel", "TorchCaller"]


class AdaptedModel(nn.Module):
    """A decoder with the frozen factors of its adapter: everything that a bundle holds.

    gradients: hold the transposes of the adapted layers' weights too, for exact gradients.
    """

    def __init__(self, decoder: Decoder, adapter: AdapterSpec, gradients: bool = False) -> None:
        super().__init__()
        self.decoder, self.adapter = decoder, adapter
        self.split = adapter.split_layer(decoder.spec.n_layers)
        self.size = sum(slot.size for slot in make_slots(adapter, decoder.spec.geometry))
        self.blocks, self.turned = nn.ModuleDict(), nn.ModuleDict()
        self.turned_top = top_backwards(decoder) if gradients else None
        for layer in range(self.split, decoder.spec.n_layers) if gradients else ():
            self.turned[str(layer)] = layer_backwards(decoder.layer(layer))

    def add_blocks(self, layer: int) -> None:
        """Compute the frozen buffers of one adapted layer from its own weights."""
        linears, rank = self.decoder.layer(layer).linears, self.adapter.rank
        frozen = {}
        for point in self.adapter.points:
            linear = cast(Linear, linears[point]) if point in TARGETS else None
            weight = None if linear is None else linear.dense()
            frozen[point] = BLOCKS[self.adapter.kind].frozen(weight, rank)
            if self.adapter.kind == "columns" and linear is not None and linear.weak is not None:
                frozen[point]["index"] = last_columns(linear.dense(), rank)
        self.set_blocks(layer, frozen)

    def set_blocks(self, layer: int, frozen: dict[str, dict[str, Tensor]]) -> None:
        """Use known frozen buffers, by name, for the points of one layer."""
        geometry = self.decoder.spec.geometry
        self.blocks[str(layer)] = make_blocks(self.adapter, geometry, frozen)

    def start(self) -> Tensor:
        """The adapter (n,) at which training starts: it leaves the base as it is."""
        random = torch.Generator().manual_seed(0)
        layers = range(self.split, self.decoder.spec.n_layers)
        parts = [p for layer in layers for p in self.layer_blocks(layer).start(random)]
        return torch.cat([part.flatten() for part in parts])

    def parts(self) -> tuple[dict[str, nn.Module], list[dict[str, nn.Module]]]:
        """The parts of the whole model, and those of each layer."""
        given = self.decoder, self.adapter.invocation
        whole = model_parts(*given, self.turned_top) | decode_parts(*given)
        return whole, [self._layer_parts(i) for i in range(self.decoder.spec.n_layers)]

    def _layer_parts(self, index: int) -> dict[str, nn.Module]:
        layer, spec = self.decoder.layer(index), self.decoder.spec
        blocks = None if index < self.split else self.layer_blocks(index)
        turned = self.turned[str(index)] if self.turned and blocks is not None else None
        window = spec.frames[spec.frame_of(index)][1]
        parts = layer_parts(layer, blocks, cast("Layer | None", turned))
        return parts | decode_layer(layer, window, blocks)

    def lanes(
        self, adapter: Tensor, active: Tensor, route: Route | None = None
    ) -> dict[int, Lanes]:
        """Adapter vectors (L, n) bound to their layers, for `Decoder.forward`.

        active: (B, T) bool, the tokens on which they act. route: through which blocks, by default
            the only one, or the first.
        """
        layers = range(self.split, self.decoder.spec.n_layers)
        slots, route = adapter.chunk(len(layers), 1), route or Route.ungated(active)
        return {i: self.layer_blocks(i).lanes(s, route) for i, s in zip(layers, slots, strict=True)}

    def layer_blocks(self, layer: int) -> LayerBlocks:
        """The blocks of one adapted layer."""
        return cast(LayerBlocks, self.blocks[str(layer)])


class TorchCaller:
    """Runs chains on tensors: the reference for the exported graphs."""

    def __init__(self, model: AdaptedModel) -> None:
        self._whole, self._layers = model.parts()

    def call(self, part: str, layer: int | None, *values: Tensor) -> tuple[Tensor, ...]:
        """Execute a part."""
        module = self._whole[part] if layer is None else self._layers[layer][part]
        result: tuple[Tensor, ...] = module(*values)
        return result

    def stack(self, values: list[Tensor]) -> Tensor:
        """Stack along a new first axis as float16."""
        return torch.stack(values).half()

    def pick(self, value: Tensor, index: int, after: Tensor | None = None) -> Tensor:
        """Entry of the first axis."""
        return value[index]

    def split(self, value: Tensor, parts: int) -> list[Tensor]:
        """Equal parts of axis 1."""
        return list(value.chunk(parts, 1))

    def join(self, values: list[Tensor], axis: int = 1) -> Tensor:
        """Join along an axis."""
        return torch.cat(values, axis)

    def number(self, value: int) -> Tensor:
        """An integer as a tensor without axes."""
        return torch.tensor(value)
