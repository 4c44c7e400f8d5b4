"""Linears and embeddings over quantized or plain weights: one call, whatever the storage."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsa_edge.exporters.decoder._weight import QuantizedWeight
from dsa_edge.kernels import torch_ops

__all__ = ["Embedding", "Linear", "products"]


class _Weight(nn.Module):
    """Holds one weight (n_out, n_in) as buffers: codes, scales and minima, or plain floats."""

    codes: Tensor
    scales: Tensor
    minimum: Tensor | None
    weak: Tensor | None
    weight: Tensor

    def __init__(self, weight: QuantizedWeight | Tensor) -> None:
        super().__init__()
        self.bits = weight.bits if isinstance(weight, QuantizedWeight) else 0
        if isinstance(weight, QuantizedWeight):
            self.register_buffer("codes", torch.from_numpy(weight.codes))
            self.register_buffer("scales", torch.from_numpy(weight.scales))
            minimum = None if weight.minimum is None else torch.from_numpy(weight.minimum)
            self.register_buffer("minimum", minimum)
            weak = None if weight.weak is None else torch.from_numpy(weight.weak)
            self.register_buffer("weak", weak)
        else:
            self.register_buffer("weight", weight.float())
            self.register_buffer("weak", None)

    def dense(self) -> Tensor:
        """The weight as float32 (n_out, n_in)."""
        if not self.bits:
            return self.weight
        grouped = torch_ops.dequantize(self.codes, self.scales, self.minimum, self.bits)
        return grouped if self.weak is None else torch.cat([grouped, self.weak.float()], 1)


class Linear(_Weight):
    """x (…, n_in) → (…, n_out), with an optional float32 bias (n_out,)."""

    bias: Tensor | None

    def __init__(self, weight: QuantizedWeight | Tensor, bias: Tensor | None = None) -> None:
        super().__init__(weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the linear map."""
        if self.weak is None:
            y = self.product(x)
        else:  # the last inputs go through the weak columns, which are no part of a group
            k = self.weak.shape[1]
            y = self.product(x[..., :-k]) + x[..., -k:] @ self.weak.float().T
        return y if self.bias is None else y + self.bias

    def product(self, x: Tensor) -> Tensor:
        """The product with the weight, weak columns aside."""
        if not self.bits:
            return x @ self.weight.T
        return torch_ops.quantized_linear(x, self.codes, self.scales, self.minimum, self.bits)


def products(linears: list[Linear], x: Tensor) -> list[Tensor]:
    """What each linear makes of the same x (…, n_in), by one product where their weights allow it.

    For rows so few that to begin a product takes as long as the product.
    """
    if not all(linear.bits for linear in linears) or len(set(map(_form, linears))) > 1:
        return [linear(x) for linear in linears]
    codes, scales = (torch.cat([getattr(li, k) for li in linears]) for k in ("codes", "scales"))
    minima = [linear.minimum for linear in linears if linear.minimum is not None]
    both = torch.cat(minima) if minima else None
    y = torch_ops.quantized_linear(x, codes, scales, both, linears[0].bits)
    parts = y.split([linear.codes.shape[0] for linear in linears], -1)
    return [p if li.bias is None else p + li.bias for p, li in zip(parts, linears, strict=True)]


def _form(linear: Linear) -> tuple[object, ...]:
    """What must be the same for weights to lie side by side; weak columns never do."""
    weak = None if linear.weak is None else id(linear)
    return linear.bits, linear.minimum is None, weak


class Embedding(_Weight):
    """Token ids (…) int64 → rows (…, width) of the table; `project` is the tied head."""

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up."""
        if self.bits:
            return torch_ops.quantized_embedding(ids, self.codes, self.scales, self.bits)
        return self.weight[ids]

    def project(self, x: Tensor) -> Tensor:
        """Hidden states (…, width) → logits (…, vocab_size)."""
        if self.bits:
            return torch_ops.quantized_linear(x, self.codes, self.scales, None, self.bits)
        return x @ self.weight.T
