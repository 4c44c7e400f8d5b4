"""Exact gradients as plain forward graphs: parts run backwards, for engines without autograd.

A step back is made of the same operators as one forwards, so torch's own derivative of a part is
traced like any part (N7; Baydin et al. 2018 call it reverse mode). It computes the part anew from
its inputs, so that only the hidden states between layers are kept (2 more passes instead of 1).

What is below the split layer, and the prompts, do not depend on the adapter: gradients stop there.
Products backwards need the weights' transposes, in groups along their other axis: those are rounded
to 8 bits, which the gradient carries on as an error of about half a percent.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dsa_edge.exporters.decoder import Decoder, Embedding, Layer, Linear, Top
from dsa_edge.kernels import torch_ops
from dsa_edge.kernels.quantized_linear import GROUP

__all__ = ["Backward", "layer_backwards", "top_backwards"]


class Backward(nn.Module):
    """A part's vector-Jacobian product: its inputs, and a cotangent of its first output.

    wanted: which inputs to give the gradients of.
    """

    def __init__(self, part: nn.Module, wanted: tuple[int, ...]) -> None:
        super().__init__()
        self.part, self.wanted = part, wanted

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The part's inputs and the cotangent → the gradients of the wanted inputs."""
        given, cotangent = list(values[:-1]), values[-1]
        with torch.enable_grad():
            for index in self.wanted:
                given[index] = given[index].detach().requires_grad_()
            output = self.part(*given)[0]
            wanted = [given[index] for index in self.wanted]
            return torch.autograd.grad(output, wanted, cotangent)


class _Turned(nn.Module):
    """A weight's transpose (n_in, n_out) in 8 bits, as buffers."""

    turned_codes: Tensor
    turned_scales: Tensor

    def turn(self, weight: Tensor) -> None:
        """Keep the transpose of a weight (n_out, n_in)."""
        from dsa_edge.exporters.decoder import quantize

        turned = quantize(weight.T.contiguous().numpy(), 8)
        self.register_buffer("turned_codes", torch.from_numpy(turned.codes))
        self.register_buffer("turned_scales", torch.from_numpy(turned.scales))


def _buffers_of(source: nn.Module, made: nn.Module) -> None:
    """The same buffers, not copies: they are written once."""
    for name, buffer in source.named_buffers(recurse=False):
        made.register_buffer(name, buffer)


class TurningLinear(Linear, _Turned):
    """A linear that can be run backwards."""

    def __init__(self, linear: Linear) -> None:
        nn.Module.__init__(self)
        self.bits = linear.bits
        _buffers_of(linear, self)
        for name in ("minimum", "weak", "bias"):
            if getattr(linear, name, None) is None:
                self.register_buffer(name, None)
        if self.bits:
            self.turn(linear.dense()[:, : linear.scales.shape[1] * GROUP])

    def product(self, x: Tensor) -> Tensor:
        """The product with the weight, weak columns aside."""
        if not self.bits:
            return super().product(x)
        y: Tensor = torch_ops.turning_linear(
            x, self.codes, self.scales, self.minimum, self.bits, self.turned_codes,
            self.turned_scales,
        )  # fmt: skip
        return y


class TurningTable(Embedding, _Turned):
    """A head that can be run backwards."""

    def __init__(self, table: Embedding) -> None:
        nn.Module.__init__(self)
        self.bits = table.bits
        _buffers_of(table, self)
        if self.bits:
            self.turn(table.dense())

    def project(self, x: Tensor) -> Tensor:
        """Hidden states (…, width) → logits (…, vocab_size)."""
        if not self.bits:
            return super().project(x)
        y: Tensor = torch_ops.turning_linear(
            x, self.codes, self.scales, None, self.bits, self.turned_codes, self.turned_scales
        )
        return y


def layer_backwards(layer: Layer) -> Layer:
    """The same layer with linears that can be run backwards; buffers are shared."""
    linears = {name: TurningLinear(cast(Linear, linear)) for name, linear in layer.linears.items()}
    made = Layer(layer.spec, cast("dict[str, Linear]", linears), {})
    made.norms = layer.norms
    return made


def top_backwards(decoder: Decoder) -> Top:
    """The same final norm and head with a table that can be run backwards."""
    made = Top(decoder.spec, decoder.top.norm.gain, TurningTable(decoder.top.table))
    made.norm = decoder.top.norm
    return made
