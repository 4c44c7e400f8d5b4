"""The parts of `decode`: new tokens on top of a cache of all layers, for generation.

Attention is one operator, which reads the caches where they lie (`dsa_edge.kernels.attend_cache`);
rotary angles are all that layers share, and only the last token's row reaches the head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsa_edge.exporters.adapters import LayerBlocks, Route
from dsa_edge.exporters.decoder import Decoder, Layer
from dsa_edge.exporters.parts import Bottom, Whole

__all__ = ["decode_layer", "decode_parts"]


class DecodeInputs(Bottom):
    """New tokens → what all layers share: the adapter acts everywhere, through its only block."""

    def forward(self, tokens: Tensor, lengths: Tensor, prefix: Tensor) -> tuple[Tensor, ...]:
        """Tokens (B, T) after X of prefix and `lengths` of their own → x, route, angles.

        x is (1, B, T, D); the route is index and weight (B, 1) and active (B, T); angles are
        cosine and sine (B, T, rotated) of each kind of layer.
        """
        x = self.embedding(tokens).unsqueeze(0) * self.spec.embedding_scale
        positions = lengths.unsqueeze(1) + torch.arange(tokens.shape[1]) + prefix.shape[3]
        made = [self.frames.angles(i, positions) for i in range(len(self.frames.windows))]
        route = Route.ungated(torch.ones_like(tokens, dtype=torch.bool))
        angles = (tensor for pair in made for tensor in pair)
        return (x, route.index, route.weight, route.active, *angles)


class DecodeLayer(nn.Module):
    """A layer over new tokens, with the adapter's blocks where it has some.

    window: tokens that a row sees, itself included; None for all.
    """

    def __init__(self, layer: Layer, window: int | None, blocks: LayerBlocks | None) -> None:
        super().__init__()
        self.layer, self.window, self.adapter = layer, window, blocks

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """x (1, B, T, D) → x, new keys and values (1, B, kv, T, d) float16.

        rest: the six of caches that `Layer.extend` takes; with blocks the adapter (E, n_layer) and
        the route: index and weight (B, K), active (B, T).
        """
        caches, lanes = rest[:6], None
        if self.adapter is not None:
            lanes = self.adapter.lanes(rest[6], Route(*rest[7:]))
        return self.layer.extend(x, (cos, sin), caches, self.window, lanes)


class TokenHead(Whole):
    """Logits of the next token."""

    def __init__(self, decoder: Decoder, invocation: int) -> None:
        super().__init__(decoder, invocation)
        self.top = decoder.top

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """x (1, B, T, D) → logits (B, V) after the last token."""
        return (self.top(x[0, :, -1]),)


def decode_parts(decoder: Decoder, invocation: int) -> dict[str, nn.Module]:
    """The parts that belong to the model as a whole."""
    return {
        "decode_inputs": DecodeInputs(decoder, invocation),
        "token_head": TokenHead(decoder, invocation),
    }


def decode_layer(
    layer: Layer, window: int | None, blocks: LayerBlocks | None
) -> dict[str, nn.Module]:
    """The part that carries one layer's weights."""
    name = "decode_layer" if blocks is None else "decode_layer_adapted"
    return {name: DecodeLayer(layer, window, blocks)}
