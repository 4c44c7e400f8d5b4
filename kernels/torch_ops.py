"""The kernels as torch ops: quantized products and tables.

Registered once, on import, so that `torch.export` keeps each as a single node which the ONNX and
ExecuTorch backends then map onto their own kernels. The bodies are the Python references.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsa_edge.kernels.quantized_linear import GROUP

__all__ = ["dequantize", "quantized_embedding", "quantized_linear", "turning_linear"]


def dequantize(codes: Tensor, scales: Tensor, minimum: Tensor | None, bits: int) -> Tensor:
    """Float32 weights (n_out, n_in); the torch twin of `quantized_linear.dequantize`."""
    if bits == 4:
        codes = torch.stack([codes & 15, codes >> 4], -1)
    codes = codes.reshape(codes.shape[0], -1, GROUP).float()
    scale = scales.float().unsqueeze(-1)
    if minimum is None:
        weights = (codes - 2.0 ** (bits - 1)) * scale
    else:
        weights = codes * scale + minimum.float().unsqueeze(-1)
    return weights.flatten(1)


@torch.library.custom_op("dsa::quantized_linear", mutates_args=())
def quantized_linear(
    x: Tensor, codes: Tensor, scales: Tensor, minimum: Tensor | None, bits: int
) -> Tensor:
    """Multiply x (…, n_in) by a quantized weight (n_out, n_in): returns (…, n_out) float32."""
    return x @ dequantize(codes, scales, minimum, bits).T


@quantized_linear.register_fake
def _(x: Tensor, codes: Tensor, scales: Tensor, minimum: Tensor | None, bits: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], codes.shape[0])


@torch.library.custom_op("dsa::quantized_embedding", mutates_args=())
def quantized_embedding(ids: Tensor, codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Rows `ids` (…) of a symmetric quantized table (n_rows, width): (…, width) float32."""
    rows = dequantize(codes[ids.flatten()], scales[ids.flatten()], None, bits)
    return rows.unflatten(0, ids.shape)


@quantized_embedding.register_fake
def _(ids: Tensor, codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    return scales.new_empty(*ids.shape, scales.shape[1] * GROUP, dtype=torch.float32)


@torch.library.custom_op("dsa::turning_linear", mutates_args=())
def turning_linear(
    x: Tensor, codes: Tensor, scales: Tensor, minimum: Tensor | None, bits: int,
    turned_codes: Tensor, turned_scales: Tensor,
) -> Tensor:  # fmt: skip
    """`quantized_linear` whose gradient is the product with the transpose, kept in 8 bits."""
    return x @ dequantize(codes, scales, minimum, bits).T


@turning_linear.register_fake
def _(
    x: Tensor, codes: Tensor, scales: Tensor, minimum: Tensor | None, bits: int,
    turned_codes: Tensor, turned_scales: Tensor,
) -> Tensor:  # fmt: skip
    return x.new_empty(*x.shape[:-1], codes.shape[0])


def _keep_turned(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[-2:])


def _turn(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    codes, scales = ctx.saved_tensors
    return (quantized_linear(grad, codes, scales, None, 8), *[None] * 6)


turning_linear.register_autograd(_turn, setup_context=_keep_turned)
