"""Quantized weights in the forms that XNNPACK multiplies: 4-bit codes in groups of 32.

XNNPACK's groups are symmetric, with bfloat16 scales. Both of our formats are sums of such products
and of one narrow product with x's group sums s(x), n_in / 32 wide (`findings`, Engines):

    affine 4 bit      w = scale · q + minimum       W x = [scale · (q − 8)] x + offset · s(x)
    symmetric 8 bit   w = scale · (16 h + l + 8)    W x = [16 scale · h] x + [scale · l] x
                      with −8 ≤ h, l ≤ 7                  + 8 scale · s(x)

A scale loses 16 − 8 bits' worth of mantissa when it becomes bfloat16; the offset takes up the mean
of that error over the codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dsa_edge.exporters.decoder import Linear
from dsa_edge.kernels.quantized_linear import GROUP, unpack_codes

__all__ = ["GroupSums", "Product", "XnnLinear"]


class Product(nn.Module):
    """[scale · codes] x with int8 activations: the pattern that XNNPACK takes for a 4-bit product.

    codes: int8 (n_out, n_in), −8 … 7. scales: float32 (n_out, n_in / 32), bfloat16 values.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes.to(torch.int8))
        self.register_buffer("scales", scales.bfloat16().float())
        self.register_buffer("zeros", torch.zeros(scales.shape, dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        """x (rows, n_in), already rounded to int8 levels → (rows, n_out)."""
        import torchao.quantization.quant_primitives as torchao

        weight = torchao.dequantize_affine(
            self.codes, (1, GROUP), self.scales, self.zeros, torch.int8, -8, 7
        )
        return nn.functional.linear(x, weight)


class GroupSums(nn.Module):
    """x (rows, n_in) → sums over groups of 32 (rows, n_in / 32), as a product with ones."""

    ones: Tensor

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.eye(n_in // GROUP).repeat_interleave(GROUP, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Sum."""
        return nn.functional.linear(x, self.ones)


class XnnLinear(nn.Module):
    """One linear of the base. x (rows, n_in) comes four times, as its users share the work: as it
    is, rounded to int8 levels, as group sums, and what weak columns read of it.
    """

    offset: Tensor
    bias: Tensor | None
    weak: Tensor | None

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        products, offset = _products(linear) if linear.bits else ([], None)
        self.products = nn.ModuleList(products)
        if offset is None:
            self.register_buffer("weight", linear.dense())
        self.register_buffer("offset", offset)
        self.register_buffer("bias", linear.bias)
        weak = None if linear.weak is None else linear.weak.float()
        self.register_buffer("weak", weak)

    def forward(self, x: Tensor, rounded: Tensor, sums: Tensor, last: Tensor) -> Tensor:
        """(rows, n_out)."""
        if self.offset is None:
            return nn.functional.linear(x, self.get_buffer("weight"), self.bias)
        y = nn.functional.linear(sums, self.offset, self.bias)
        for product in self.products:
            y = y + product(rounded)
        return y if self.weak is None else y + nn.functional.linear(last, self.weak)


def round_activations(x: Tensor) -> Tensor:
    """x (rows, n_in) on int8 levels, one scale and zero point a row, as XNNPACK rounds it."""
    import torchao.quantization.quant_primitives as torchao

    rule: dict[str, Any] = {"quant_min": -128, "quant_max": 127}
    block = (1, x.shape[-1])
    scale, zero = torchao.choose_qparams_affine(
        x, torchao.MappingType.ASYMMETRIC, block, torch.int8, **rule,
        scale_dtype=torch.float32, zero_point_dtype=torch.int8,
    )  # fmt: skip
    codes = torchao.quantize_affine(x, block, scale, zero, torch.int8, **rule)
    return torchao.dequantize_affine(codes, block, scale, zero, torch.int8, **rule)


def _products(linear: Linear) -> tuple[list[Product], Tensor]:
    """The 4-bit products of a weight, and the offset (n_out, n_in / 32) on its group sums."""
    codes = torch.from_numpy(unpack_codes(linear.codes.numpy(), linear.bits)).int()
    scales = linear.scales.float()
    kept = scales.bfloat16().float()
    lost = scales - kept
    if linear.bits == 8:
        code = codes - 128
        high, low = code >> 4, (code & 15) - 8
        return [Product(high, 16 * scales), Product(low, scales)], 8 * kept
    if linear.minimum is None:
        return [Product(codes - 8, scales)], -0.5 * lost
    return [Product(codes - 8, scales)], linear.minimum.float() + 8 * kept + 7.5 * lost
