"""GPTQ (2210.17323): each column is rounded in turn, and the columns that follow make up for it.

With H = 2 X Xᵀ of a linear's inputs X, U the upper Cholesky factor of H⁻¹ and q(w) the nearest
point on the grid of w's group:

    e = (w_j − q(w_j)) / U_jj        w_k −= e · U_jk  for every later column k

Columns come in the order of falling H_jj (the paper's code calls it act-order). Grids are those of
the weights as they were, so that the groups stay contiguous whatever the order. Weak columns come
last and are not rounded to a grid: they take up what is left.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.exporters.decoder import QuantizedWeight
from dsa_edge.exporters.subspace import one_thread
from dsa_edge.kernels.quantized_linear import GROUP, fit_groups, pack_codes

__all__ = ["BITS", "gptq", "output_error"]

BITS = 4
BLOCK = 128  # columns whose changes are gathered before the rest sees them
DAMPING = 0.01  # of the mean of H's diagonal, added to it; the paper's


def gptq(weight: NDArray[np.float32], hessian: Tensor, weak: int = 0) -> QuantizedWeight:
    """Round a weight (n_out, n_in) to 4 bits so that its outputs change little.

    hessian: 2 X Xᵀ (n_in, n_in) float64 of the inputs. weak: last columns, which become float16.
    """
    n_out, n_in = weight.shape
    strong = n_in - weak
    groups = weight[:, :strong].reshape(n_out, -1, GROUP)
    scales, minimum = fit_groups(groups, BITS, affine=True)
    assert minimum is not None  # affine grids have one
    order = torch.cat([hessian.diagonal()[:strong].argsort(descending=True, stable=True),
                       torch.arange(strong, n_in)])  # fmt: skip
    step, low = (torch.from_numpy(a).float().T for a in (scales, minimum))
    rounding = _Rounding(step.contiguous(), low.contiguous(), strong)
    columns = torch.from_numpy(weight).T[order].contiguous()  # a column a row: they are worked on
    with one_thread():  # a column is little work
        rounding.run(columns, order, _factor(hessian[order][:, order]))
    codes = rounding.codes.T.contiguous().numpy()
    tail = np.ascontiguousarray(columns[strong:].T.numpy()).astype(np.float16) if weak else None
    return QuantizedWeight(BITS, pack_codes(codes, BITS), scales, minimum, tail)


def output_error(difference: NDArray[np.float32], hessian: Tensor) -> float:
    """‖D X‖² of a difference D (n_out, n_in) of weights, from H = 2 X Xᵀ."""
    d = torch.from_numpy(difference).double()
    return float(((d @ hessian) * d).sum()) / 2


class _Rounding:
    """Rounds columns one after the other. step, low: (n_in / 32, n_out), a group a row."""

    def __init__(self, step: Tensor, low: Tensor, strong: int) -> None:
        self.step, self.low, self.strong = step, low, strong
        self.codes = torch.zeros(strong, step.shape[1], dtype=torch.uint8)

    def run(self, columns: Tensor, order: Tensor, factor: Tensor) -> None:
        """Round columns (n_in, n_out) in place, weak ones aside; order: which each of them is."""
        places = order.tolist()
        for start in range(0, self.strong, BLOCK):
            end = min(start + BLOCK, self.strong)
            errors = torch.zeros(end - start, columns.shape[1])
            for index in range(start, end):
                rounded = self._round(columns[index], places[index])
                error = (columns[index] - rounded) / factor[index, index]
                columns[index] = rounded
                columns[index + 1 : end] -= factor[index, index + 1 : end, None] * error
                errors[index - start] = error
            columns[end:] -= factor[start:end, end:].T @ errors

    def _round(self, column: Tensor, place: int) -> Tensor:
        """The nearest points for one column (n_out,); notes their codes."""
        step, low = self.step[place // GROUP], self.low[place // GROUP]
        usable = torch.where(step == 0, 1.0, step)
        codes = ((column - low) / usable).round_().clamp_(0, 2**BITS - 1)
        self.codes[place] = codes.to(torch.uint8)
        return codes * step + low


def _factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped inverse, float32."""
    damped = hessian.clone()
    diagonal = damped.diagonal()
    diagonal += torch.where(diagonal == 0, 1.0, 0.0)  # an input that is always 0 says nothing
    diagonal += DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()
