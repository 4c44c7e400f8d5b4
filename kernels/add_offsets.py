"""The affine part of a quantized product: Python reference of `dsa::add_offsets`.

    add_offsets(x, y, offsets) -> z

    x        (…, n_in)            float32
    y, z     (…, n_out)           float32,  z = y + s(x) offsets
    offsets  (n_in / 32, n_out)   float16

with s(x) (…, n_in / 32) the sums of x over groups of 32. `MatMulNBits` knows no floating minimum:
a product with an affine weight is one with codes around 8, which it does, and this one. Offsets are
minima plus 8 scales, and mostly smaller than a scale: as float16, like both, they lose less than a
thousandth of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsa_edge.kernels.quantized_linear import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Halves = NDArray[np.float16]

__all__ = ["add_offsets"]


def add_offsets(x: Floats, y: Floats, offsets: Halves) -> Floats:
    """Return z (…, n_out)."""
    sums = x.reshape(*x.shape[:-1], len(offsets), GROUP).sum(-1)
    z: Floats = y + sums @ offsets.astype(np.float32)
    return z
