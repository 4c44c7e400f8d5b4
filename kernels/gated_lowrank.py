"""The gated sparse op: schema and Python reference of `dsa::gated_lowrank`.

    gated_lowrank(x, base, core, route_index, route_weight, u, v, active) -> y

To every active row of the base's output, add the chosen blocks' low-rank products:

    y[l, b, t] = base[l, b, t] + active[b, t] · Σ_k  weight[b, k] · U_i C_{l,i} V_i x[l, b, t]
                 with i = route_index[b, k]

`core` carries the lane axis; factors and routes do not. With only its diagonal trained, C has one
axis less. Where each example of a lane has a core of its own, as rows of different users have,
there are L · B of them, one lane after the other: C_{l,b,i}.
Axes: L lanes, B examples, T rows, N blocks, K chosen blocks, r rank, F factors: N, or 1 where all
blocks share them.

    x             (L, B, T, n_in)    float32       base, y   (L, B, T, n_out)  float32
    core          (L or L · B, N, r, r) or, of diagonals, (L or L · B, N, r)   float32
    route_index   (B, K) int64, 0 … N − 1           route_weight  (B, K)       float32
    u             (F, r, n_out)      float16 or float32, one row a direction of the output
    v             (F, n_in, r)       the same dtype, one column a direction of the input
    active        (B, T)             bool

Where a target has no blocks, N = 0, y is base and the route is not read: one program then serves
layers with any adapter and with none. (ONNX graphs leave the op out there.)
u and v lie so that a kernel reads whole rows of them, in the order in which it needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Factors = NDArray[np.float32] | NDArray[np.float16]

__all__ = ["MAX_RANK", "SCHEMA", "gated_lowrank"]

SCHEMA = (
    "gated_lowrank(Tensor x, Tensor base, Tensor core, Tensor route_index, Tensor route_weight, "
    "Tensor u, Tensor v, Tensor active)"
)
MAX_RANK = 512  # must match kMaxRank in native/core/gated_lowrank.h


def gated_lowrank(
    x: Floats,
    base: Floats,
    core: Floats,
    route_index: NDArray[np.int64],
    route_weight: Floats,
    u: Factors,
    v: Factors,
    active: NDArray[np.bool_],
) -> Floats:
    """Return y (L, B, T, n_out), float32; shapes as in the module's docstring."""
    y = base.astype(np.float32)
    if not len(u):
        return y
    wide_u, wide_v = u.astype(np.float32), v.astype(np.float32)
    lanes = len(y)
    cores = core.reshape(lanes, -1, *core.shape[1:]) if lanes else core[:, None]  # (L, 1 or B, …)
    for b, (blocks, weights) in enumerate(zip(route_index, route_weight, strict=True)):
        rows = active[b]
        for i, weight in zip(blocks, weights, strict=True):
            own = i if len(u) > 1 else 0
            down = x[:, b, rows] @ wide_v[own]  # (L, active rows, r)
            c = cores[:, b if cores.shape[1] > 1 else 0, i]
            mixed = down * c[:, None] if core.ndim == 3 else down @ c.transpose(0, 2, 1)
            y[:, b, rows] += weight * (mixed @ wide_u[own])
    return y
