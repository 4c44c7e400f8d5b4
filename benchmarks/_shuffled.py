"""A float model to quantize, where the only real checkpoint at hand is stored in 4 bits.

Its dequantized weights lie on the grid that they were stored on: rounding them again would cost
nothing. So the channels of the residual stream and the neurons of every feed-forward are shuffled,
which changes no output; groups of 32 then hold weights of many old groups, and rounding costs what
it costs a model in float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsa_edge.exporters.decoder import QuantizedWeight, WeightSource
from dsa_edge.exporters.quantization import Orders, Reordered

__all__ = ["Floats", "shuffled"]


class Floats:
    """A source with every tensor dequantized."""

    def __init__(self, source: WeightSource) -> None:
        self._source, self.spec = source, source.spec

    def has(self, name: str) -> bool:
        """As the source has it."""
        return self._source.has(name)

    def weight(self, name: str) -> Any:
        """One tensor in float32."""
        value = self._source.weight(name)
        return value.dense() if isinstance(value, QuantizedWeight) else value


def shuffled(source: WeightSource, seed: int = 0) -> Reordered:
    """The same function in float32, with its channels and neurons in a random order."""
    random, spec = np.random.default_rng(seed), source.spec
    channels = random.permutation(spec.width)
    neurons = tuple(random.permutation(spec.ffn_width) for _ in range(spec.n_layers))
    return Reordered(Floats(source), Orders(channels, neurons))
