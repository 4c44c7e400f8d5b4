"""Columns of a stored weight in another order, with as few of its bits touched as can be.

A group whose columns all stay keeps every bit. Where a foreign column came in, the others keep
their codes and it is rounded onto the group's grid, or all 32 onto a new grid, row by row as it
gives less error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_edge.exporters.decoder import QuantizedWeight
from dsa_edge.kernels.quantized_linear import (
    GROUP,
    dequantize,
    fit_groups,
    pack_codes,
    round_groups,
    unpack_codes,
)

__all__ = ["regrouped"]

Grid = tuple[NDArray[np.float16], NDArray[np.float16] | None]


def regrouped(weight: QuantizedWeight, order: NDArray[np.int64], weak: int = 0) -> QuantizedWeight:
    """The weight (n_out, n_in) with column p taken from column order[p].

    weak: last columns of the new order, which become float16.
    """
    n_in = weight.shape[1]
    strong = n_in - weak
    dense = weight.dense()[:, order]
    stay = (order[:strong] == np.arange(strong)).reshape(-1, GROUP)
    codes = unpack_codes(weight.codes, weight.bits)[:, :strong].reshape(len(dense), -1, GROUP)
    kept: Grid = _first(weight, strong // GROUP)
    tail = dense[:, strong:].astype(np.float16) if weak else None
    if not stay.all():
        wanted = dense[:, :strong].reshape(codes.shape)
        codes, kept = _better(codes, kept, wanted, stay, weight.bits)
    return QuantizedWeight(weight.bits, _packed(codes, weight.bits), *kept, tail)


def _first(weight: QuantizedWeight, groups: int) -> Grid:
    minimum = weight.minimum
    return weight.scales[:, :groups], None if minimum is None else minimum[:, :groups]


def _better(
    codes: NDArray[np.uint8], own: Grid, wanted: NDArray[np.float32], stay: NDArray[np.bool_],
    bits: int,
) -> tuple[NDArray[np.uint8], Grid]:  # fmt: skip
    """Codes (n_out, groups, 32) and grids with less error, of those with foreign columns."""
    new = fit_groups(wanted, bits, own[1] is not None)
    on_own = round_groups(wanted, *own, bits).reshape(codes.shape)
    on_own = np.where(stay, codes, on_own)  # no rounding of what was rounded before
    on_new = round_groups(wanted, *new, bits).reshape(codes.shape)
    errors = [_error(c, g, wanted, bits) for c, g in ((on_own, own), (on_new, new))]
    take = (errors[1] < errors[0]) & ~stay.all(1)  # (n_out, groups)
    scales = np.where(take, new[0], own[0])
    minimum = None if own[1] is None or new[1] is None else np.where(take, new[1], own[1])
    return np.where(take[..., None], on_new, on_own), (scales, minimum)


def _error(
    codes: NDArray[np.uint8], grid: Grid, wanted: NDArray[np.float32], bits: int
) -> NDArray[np.float32]:
    """Squared error of every group (n_out, groups)."""
    found = dequantize(_packed(codes, bits), *grid, bits).reshape(wanted.shape)
    return np.square(found - wanted).sum(-1)


def _packed(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    return pack_codes(np.ascontiguousarray(codes).reshape(len(codes), -1), bits)
