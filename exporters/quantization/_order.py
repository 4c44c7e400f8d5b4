"""The same function with its channels in another order (global reordering of QEFT, 2410.08661).

Channels of the residual stream change places in everything that reads or writes it; neurons of a
feed-forward in `gate` and `up`, which write them, and in `down`, which reads them. Heads stay as
they are. Outputs are those of the original order up to the order of float sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_edge.exporters.decoder import DecoderSpec, QuantizedWeight, Stored, WeightSource
from dsa_edge.exporters.quantization._regroup import regrouped

__all__ = ["Orders", "Reordered", "swapped"]

Order = NDArray[np.int64]  # entry p: which old channel is at place p
READERS = ("q", "k", "v", "gate", "up")  # of the residual stream
WRITERS = ("o", "down")
NEURONS = ("gate", "up")  # whose outputs are neurons


@dataclass(frozen=True)
class Orders:
    """channels: of the residual stream (width,); neurons: of each layer's feed-forward.

    weak: how many of the last channels, and of the last neurons, are weak; 0 only reorders.
    """

    channels: Order
    neurons: tuple[Order, ...]
    weak: int = 0


def swapped(sensitivity: NDArray[np.float64], weak: int) -> Order:
    """The order (n,) that has the `weak` most sensitive of n channels last, the most at the end.

    Each of them changes places with one of those that were last, so no other channel moves.
    """
    n = len(sensitivity)
    chosen = np.argsort(sensitivity, kind="stable")[n - weak :]
    order = np.arange(n)
    left = np.sort(chosen[chosen < n - weak])
    order[left] = np.setdiff1d(order[n - weak :], chosen)
    order[n - weak :] = chosen
    return order


class Reordered:
    """A source of weights in another order."""

    def __init__(self, source: WeightSource, orders: Orders) -> None:
        self.spec: DecoderSpec = source.spec
        self._source, self._orders = source, orders

    def has(self, name: str) -> bool:
        """As the source has it."""
        return self._source.has(name)

    def weight(self, name: str) -> Stored:
        """One tensor: float32 where the source has that, else as stored with its weak columns."""
        value, channels = self._source.weight(name), self._orders.channels
        if name in ("embedding", "head"):  # 4 bits become 8 anyway (`build_decoder`)
            if isinstance(value, QuantizedWeight) and value.bits == 4:
                value = value.dense()
            return _columns(value, channels, 0)
        if name == "final_norm":
            return _rows(value, channels)
        _, layer, part = name.split(".", 2)
        if part.startswith("norms."):  # those of queries and keys are a head wide
            return value if part in ("norms.q", "norms.k") else _rows(value, channels)
        return self._linear(value, part, self._orders.neurons[int(layer)])

    def _linear(self, value: Stored, part: str, neurons: Order) -> Stored:
        target, _, bias = part.partition(".")
        if target in WRITERS:
            value = _rows(value, self._orders.channels)
        elif target in NEURONS:
            value = _rows(value, neurons)
        if bias:
            return value
        if target in READERS:
            return _columns(value, self._orders.channels, self._orders.weak)
        return _columns(value, neurons, self._orders.weak) if target == "down" else value


def _rows(value: Stored, order: Order) -> Stored:
    return value.rows(order) if isinstance(value, QuantizedWeight) else value[order]


def _columns(value: Stored, order: Order, weak: int) -> Stored:
    if isinstance(value, QuantizedWeight):
        return regrouped(value, order, weak)
    return np.ascontiguousarray(value[:, order])
