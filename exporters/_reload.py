"""Rebuild the torch model of a bundle from its own weights, to hold its graphs against."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.bundle import Bundle
from dsa_edge.exporters.decoder import DecoderSpec, QuantizedWeight, build_decoder
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.weights import read_frozen, stem_of

__all__ = ["reload_model"]


def reload_model(bundle: Bundle) -> AdaptedModel:
    """The decoder and the adapter's factors that a bundle holds; weights stay memory-mapped."""
    weights = _BundleWeights(bundle)
    model = AdaptedModel(build_decoder(weights, "int4"), bundle.manifest.adapter)
    for layer in range(model.split, weights.spec.n_layers):
        points = bundle.manifest.adapter.points
        model.set_blocks(layer, {point: weights.frozen(layer, point) for point in points})
    model.eval()
    return model


class _BundleWeights:
    """A bundle's tensors under the canonical names of a checkpoint."""

    def __init__(self, bundle: Bundle) -> None:
        self.spec = DecoderSpec.from_dict(bundle.manifest.decoder)
        self._arrays = read_frozen(bundle)

    def has(self, name: str) -> bool:
        """Whether the bundle has a tensor of this canonical name."""
        if name == "head" and self.spec.tied:
            return False
        stem = stem_of(name)
        return stem in self._arrays or f"{stem}.codes" in self._arrays

    def weight(self, name: str) -> QuantizedWeight | NDArray[np.float32]:
        """One tensor: quantized as stored, or float32."""
        stem = stem_of(name)
        if stem in self._arrays:
            return self._arrays[stem]
        codes: NDArray[Any] = self._arrays[f"{stem}.codes"]
        minimum = self._arrays.get(f"{stem}.minimum")
        bits = 8 if codes.shape[-1] == 32 else 4
        weak = self._arrays.get(f"{stem}.weak")
        return QuantizedWeight(bits, codes, self._arrays[f"{stem}.scales"], minimum, weak)

    def frozen(self, layer: int, point: str) -> dict[str, Tensor]:
        """The frozen buffers of the adapter at one point, by name."""
        stem = f"blocks.{layer}.blocks.{point}."
        return {
            name.removeprefix(stem): torch.from_numpy(array)
            for name, array in self._arrays.items()
            if name.startswith(stem)
        }
