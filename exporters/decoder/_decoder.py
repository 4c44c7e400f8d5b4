"""The whole decoder as one torch module: the reference that every graph is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from dsa_edge.exporters.adapters import Lanes
from dsa_edge.exporters.decoder._grouped import grouped_masks
from dsa_edge.exporters.decoder._layer import Layer, Norm
from dsa_edge.exporters.decoder._linear import Embedding
from dsa_edge.exporters.decoder._rope import inverse_frequencies
from dsa_edge.exporters.decoder._spec import DecoderSpec

__all__ = ["Decoder", "Frame", "Frames", "Top"]

MASKED = (
    -1e9
)  # added to the score of a key that must not be seen; finite, so that rows of padding stay so

Frame = tuple[Tensor, Tensor, Tensor]  # cos (B, T, rotated), sin (B, T, rotated), mask (B, T, K)


class Frames(nn.Module):
    """Rotary angles and masks, computed once for all layers that share them."""

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.windows = [window for _, window in spec.frames]
        self.factors = []
        for index, (rope, _) in enumerate(spec.frames):
            frequencies, factor = inverse_frequencies(rope, spec.head_dim)
            self.register_buffer(f"frequencies_{index}", frequencies)
            self.factors.append(factor)

    def forward(self, positions: Tensor, keys: Tensor, visible: Tensor) -> list[Frame]:
        """One frame for each distinct (rotary embedding, window) pair of the model.

        positions: (B, T) int64 of the new tokens; keys: (B, K) int64 positions of all keys;
        visible: (B, K) bool, False for padding.
        """
        distance = positions.unsqueeze(2) - keys.unsqueeze(1)  # (B, T, K)
        seen = (distance >= 0) & visible.unsqueeze(1)
        frames = []
        for index, window in enumerate(self.windows):
            near = seen if window is None else seen & (distance < window)
            mask = torch.where(near, 0.0, MASKED)
            frames.append((*self.angles(index, positions), mask))
        return frames

    def angles(self, index: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine (B, T, rotated) of one frame at positions (B, T) int64."""
        angles = positions.unsqueeze(-1).float() * self.get_buffer(f"frequencies_{index}")
        angles = torch.cat([angles, angles], -1)
        return angles.cos() * self.factors[index], angles.sin() * self.factors[index]

    def grouped(self, positions: Tensor, keys: Tensor, group: Tensor) -> list[Frame]:
        """The same for one text, with a mask (2, 1, T, K) for each half of the heads.

        positions: (T) and keys: (K) int64 from the start of the text; group: (1) int64 tokens.
        """
        given = positions.unsqueeze(0), keys.unsqueeze(0)
        return [
            (cos, sin, grouped_masks(mask, positions, keys, group, MASKED))
            for cos, sin, mask in self(*given, torch.ones_like(given[1], dtype=torch.bool))
        ]


class Top(nn.Module):
    """Final norm and head: hidden states (…, width) → logits (…, vocab_size).

    table: the output projection, the embedding itself where the two are tied.
    """

    def __init__(self, spec: DecoderSpec, gain: Tensor, table: Embedding) -> None:
        super().__init__()
        self.spec = spec
        self.norm = Norm(gain, spec.norm_eps)
        self.table = table

    def forward(self, x: Tensor) -> Tensor:
        """Logits over the whole vocabulary."""
        return self._scaled(self.table.project(self.norm(x)))

    def some(self, x: Tensor, ids: Tensor) -> Tensor:
        """Logits (…, C) of the tokens ids (C) alone; only their rows are read."""
        return self._scaled(self.norm(x) @ self.table(ids).T)

    def _scaled(self, logits: Tensor) -> Tensor:
        logits = logits * self.spec.logit_scale
        cap = self.spec.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap


class Decoder(nn.Module):
    """Embedding, layers, final norm and head of one model.

    head: an untied output projection; None means that the embedding is also the head.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        embedding: Embedding,
        layers: list[Layer],
        final_gain: Tensor,
        head: Embedding | None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = embedding
        self.layers = nn.ModuleList(layers)
        self.top = Top(spec, final_gain, embedding if head is None else head)
        self.frames = Frames(spec)

    def layer(self, index: int) -> Layer:
        """One layer, from the bottom."""
        return cast(Layer, self.layers[index])

    def embed(self, tokens: Tensor) -> Tensor:
        """Hidden states (1, B, T, width) at the bottom for tokens (B, T) int64."""
        return self.embedding(tokens).unsqueeze(0) * self.spec.embedding_scale

    def forward(self, tokens: Tensor, lanes: Mapping[int, Lanes] | None = None) -> Tensor:
        """Logits (L, B, T, vocab_size) of whole sentences; arguments as for `states`."""
        logits: Tensor = self.top(self.states(tokens, lanes))
        return logits

    def states(self, tokens: Tensor, lanes: Mapping[int, Lanes] | None = None) -> Tensor:
        """Hidden states (L, B, T, width) of whole sentences, without any cache: the naive path.

        tokens: (B, T) int64, all real.
        lanes: the adapter of each adapted layer, in L copies; None runs the base with L = 1.
        """
        positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
        frames = self.frames(positions, positions, torch.ones_like(tokens, dtype=torch.bool))
        x = self.embed(tokens)
        if lanes:
            x = x.expand(next(iter(lanes.values())).count, -1, -1, -1)
        for index, layer in enumerate(self.layers):
            adapter = (lanes or {}).get(index)
            x, _, _ = layer(x, *frames[self.spec.frame_of(index)], lanes=adapter)
        return x
