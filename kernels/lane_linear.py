"""Every lane's rows by the lane's own matrix: schema and Python reference of `dsa::lane_linear`.

    lane_linear(x, weight) -> y

    x       (M, n_in)  float32, the rows of L lanes one lane after the other, M a multiple of L
    weight  (L, n_out, n_in)  float32
    y       (M, n_out)  float32,  y[m] = weight[lane of m] x[m]

What is trained differs from lane to lane, so every adapter that is more than a core between frozen
factors is made of this product. ONNX has it as `MatMul`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["SCHEMA", "lane_linear"]

SCHEMA = "lane_linear(Tensor x, Tensor weight)"


def lane_linear(x: Floats, weight: Floats) -> Floats:
    """Return y (M, n_out), float32; shapes as in the module's docstring."""
    lanes, n_out, n_in = weight.shape
    y: Floats = x.reshape(lanes, -1, n_in) @ weight.transpose(0, 2, 1)
    return y.reshape(-1, n_out)
