"""The parts that the methods are chains of, as torch modules.

Each is traced once, whatever the depth: layers of one model share their structure and differ only
in their weights. Layer parts take the weights of one layer; all others belong to the whole model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsa_edge.exporters.adapters import LayerBlocks, Route
from dsa_edge.exporters.decoder import Decoder, Frame, Frames, Layer, Segment, Top
from dsa_edge.exporters.gradients import Backward

__all__ = ["Bottom", "Whole", "layer_parts", "model_parts"]


class Whole(nn.Module):
    """A part that needs the model's ends: embedding, frames, head."""

    def __init__(self, decoder: Decoder, invocation: int) -> None:
        super().__init__()
        self.spec = decoder.spec
        self.invocation = invocation


class Bottom(Whole):
    """A part that starts from tokens."""

    def __init__(self, decoder: Decoder, invocation: int) -> None:
        super().__init__(decoder, invocation)
        self.embedding, self.frames = decoder.embedding, decoder.frames


class PrefillInputs(Bottom):
    """Tokens → hidden states at the bottom, and one frame for each kind of layer."""

    def forward(
        self, prompt: Tensor, response: Tensor, lengths: Tensor, prefix: Tensor
    ) -> tuple[Tensor, ...]:
        """Prompt (B, P) and response (B, R) → x (1, B, P + R, D), frames over X + P + R keys.

        Rows of prompt beyond `lengths` are padding; the response continues at `lengths`. All follow
        the X tokens whose keys are in prefix (layers, 1, kv, X, d).
        """
        past = torch.arange(prompt.shape[1]).expand(prompt.shape)
        new = lengths.unsqueeze(1) + torch.arange(response.shape[1])
        own = past < lengths.unsqueeze(1)
        visible = torch.cat([own, torch.ones_like(new, dtype=torch.bool)], 1)
        positions = torch.cat([past, new], 1)
        tokens = torch.cat([prompt, response], 1)
        x = self.embedding(tokens).unsqueeze(0) * self.spec.embedding_scale
        return (x, *_frames_after(prefix, self.frames, positions, positions, visible))


class GroupedInputs(Bottom):
    """A part of one prompt → hidden states at the bottom, frames of shifted sparse attention."""

    def forward(
        self, prompt: Tensor, start: Tensor, group: Tensor, prefix: Tensor
    ) -> tuple[Tensor, ...]:
        """Tokens (1, P) after X of prefix → x (1, 1, P, D), frames with masks (2, 1, P, X + P).

        start: (1), position of the first token of prefix; group: (1), tokens of a group.
        """
        size = prefix.shape[3]
        keys = start + torch.arange(size + prompt.shape[1])
        x = self.embedding(prompt).unsqueeze(0) * self.spec.embedding_scale
        made = self.frames.grouped(keys[size:], keys, group)
        return (x, *(tensor for frame in made for tensor in frame))


class PrefillSplit(nn.Module):
    """At the split layer: responses leave, prompts go on, their mean serves the gate."""

    def forward(
        self, x: Tensor, prompt: Tensor, lengths: Tensor, prefix: Tensor, *frames: Tensor
    ) -> tuple[Tensor, ...]:
        """x (1, B, P + R, D) → hidden (B, R, D), pooled (B, D), x (1, B, P, D), frames of P.

        The first token of a text has no part in the mean (`dsa_edge.gate`).
        """
        past, keys = prompt.shape[1], prefix.shape[3] + prompt.shape[1]
        position = torch.arange(past)
        counts = (position < lengths.unsqueeze(1)) & (position + prefix.shape[3] > 0)  # (B, P)
        valid = counts.float().unsqueeze(-1)
        pooled = (x[0, :, :past] * valid).sum(1) / valid.sum(1).clamp(min=1)
        cut = [f[:, :past, :keys] if i % 3 == 2 else f[:, :past] for i, f in enumerate(frames)]
        return (x[0, :, past:], pooled, x[:, :, :past], *cut)


class Trim(nn.Module):
    """Keep the prompt's part of keys or values."""

    def forward(self, cache: Tensor, prompt: Tensor) -> tuple[Tensor]:
        """(B, kv, P + R, d) → (B, kv, P, d)."""
        return (cache[:, :, : prompt.shape[1]],)


class ResponseInputs(Whole):
    """Cached hidden states at the split layer → lanes, and the frames of the response rows."""

    def __init__(self, decoder: Decoder, invocation: int) -> None:
        super().__init__(decoder, invocation)
        self.frames = decoder.frames

    def forward(
        self, hidden: Tensor, lengths: Tensor, prefix: Tensor, keys: Tensor, lanes: Tensor
    ) -> tuple[Tensor, ...]:
        """Hidden (B, R, D), lanes (L) → x (L, B, R, D), frames with masks (B, R, X + P + R)."""
        x = hidden.unsqueeze(0).expand(lanes.shape[0], -1, -1, -1).clone()
        return (x, *_cached_frames(self.frames, lengths, prefix, keys, hidden.shape[1]))


class LossHead(Whole):
    """Cross-entropy over the whole vocabulary, at the response's target positions only."""

    def __init__(self, decoder: Decoder, invocation: int, top: Top | None = None) -> None:
        super().__init__(decoder, invocation)
        self.top = top or decoder.top

    def forward(self, x: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor]:
        """x (L, B, U, D), targets (B, R) int64, weights (B, R) → losses (L, B) in nats.

        U = R − invocation + 1: the last layer drops the rows that predict no target.
        """
        scores = self.top(x).log_softmax(-1)
        wanted = targets[:, self.invocation - 1 :]
        index = wanted[None, :, :, None].expand(x.shape[0], -1, -1, 1)
        nats = -scores.gather(-1, index).squeeze(-1) * weights[:, self.invocation - 1 :]
        return (nats.sum(-1),)


class ChoiceHead(Whole):
    """Log-probabilities of a few candidates; only their rows of the head are read."""

    def __init__(self, decoder: Decoder, invocation: int, top: Top | None = None) -> None:
        super().__init__(decoder, invocation)
        self.top = top or decoder.top

    def forward(self, x: Tensor, candidates: Tensor) -> tuple[Tensor]:
        """x (L, B, U, D) and candidates (C) → log-probabilities among them (L, B, C)."""
        return (self.top.some(x[:, :, -1], candidates).log_softmax(-1),)


class BaseLayer(nn.Module):
    """A layer of the base over whole prompts that follow a shared prefix."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, *prefix: Tensor
    ) -> tuple[Tensor, ...]:
        """x (1, B, S, D), prefix keys and values (1, kv, X, d) → x, new ones (B, kv, S, d)."""
        x, k, v = self.layer(x, cos, sin, mask, _segments(*prefix))
        return x, _cache(k), _cache(v)


class LayerKeys(nn.Module):
    """Keys and values of the last layer: all that a prompt needs of it."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """x (1, B, P, D) → keys and values (B, kv, P, d)."""
        k, v = self.layer.keys(x, cos, sin)
        return _cache(k), _cache(v)


class AdaptedLayer(nn.Module):
    """An adapted layer over response rows, all lanes sharing the prompt's cache."""

    def __init__(self, layer: Layer, blocks: LayerBlocks) -> None:
        super().__init__()
        self.layer, self.adapter = layer, blocks

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, *rest: Tensor
    ) -> tuple[Tensor]:
        """x (L, B, R, D), prefix (1, kv, X, d), cache (B, kv, P, d), adapter (E, n_layer) → x.

        Caches are float16; E is L, or L · B where each example has its own.
        Where there are several blocks, the route follows: index and weight (B, K).
        """
        cached, adapter, route = rest[:4], rest[4], rest[5:]
        lanes = self.adapter.lanes(adapter, _everywhere(x, *route))
        return (self.layer(x, cos, sin, mask, _segments(*cached), lanes)[0],)


class LastLayer(nn.Module):
    """The last layer, computed only for the U rows that predict a target."""

    def __init__(self, layer: Layer, blocks: LayerBlocks) -> None:
        super().__init__()
        self.layer, self.adapter = layer, blocks

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        asking: Tensor,
        asking_cos: Tensor,
        asking_sin: Tensor,
        mask: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor]:
        """All rows x (L, B, R, D) and the asking ones (L, B, U, D) → x (L, B, U, D)."""
        cached, adapter, route = rest[:4], rest[4], rest[5:]
        both = (_everywhere(rows, *route) for rows in (x, asking))
        lanes, last = (self.adapter.lanes(adapter, each) for each in both)
        wanted = asking, asking_cos, asking_sin, last
        return (self.layer(x, cos, sin, mask, _segments(*cached), lanes, wanted)[0],)


class Asking(Whole):
    """The rows of a response that predict a target: from the last invocation token on."""

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Drop the first invocation − 1 rows of x (L, B, R, D) and of a frame."""
        first = self.invocation - 1
        return x[:, :, first:], cos[:, first:], sin[:, first:], mask[:, first:]


def layer_parts(
    layer: Layer, blocks: LayerBlocks | None, turned: Layer | None = None
) -> dict[str, nn.Module]:
    """The parts that carry one layer's weights; layers below the split have no blocks.

    turned: the layer with linears that can be run backwards, where gradients are wanted.
    """
    parts = {
        "layer": BaseLayer(layer),
        "layer_grouped": BaseLayer(layer),
        "layer_keys": LayerKeys(layer),
    }
    if blocks is None:
        return parts
    adapted = AdaptedLayer(layer, blocks)
    parts |= {"layer_adapted": adapted, "layer_last": LastLayer(layer, blocks)}
    if turned is not None:  # with respect to x, its first input, and the adapter, its last
        parts["layer_back"] = Backward(AdaptedLayer(turned, blocks), (0, 8))
    return parts


def model_parts(
    decoder: Decoder, invocation: int, turned: Top | None = None
) -> dict[str, nn.Module]:
    """The parts that belong to the model as a whole."""
    parts = {
        "prefill_inputs": PrefillInputs(decoder, invocation),
        "prefill_split": PrefillSplit(),
        "grouped_inputs": GroupedInputs(decoder, invocation),
        "trim": Trim(),
        "response_inputs": ResponseInputs(decoder, invocation),
        "asking": Asking(decoder, invocation),
        "loss_head": LossHead(decoder, invocation),
        "choice_head": ChoiceHead(decoder, invocation),
    }
    if turned is not None:
        parts["loss_back"] = Backward(LossHead(decoder, invocation, turned), (0,))
        parts["choice_back"] = Backward(ChoiceHead(decoder, invocation, turned), (0,))
    return parts


def _cached_frames(
    frames: Frames, lengths: Tensor, prefix: Tensor, keys: Tensor, new: int
) -> list[Tensor]:
    """Frames of `new` tokens that follow a prefix and a cache; keys (layers, B, kv, P, d)."""
    batch, past = keys.shape[1], keys.shape[3]
    old = torch.arange(past).expand(batch, past)
    positions = lengths.unsqueeze(1) + torch.arange(new)
    seen = [old < lengths.unsqueeze(1), torch.ones_like(positions, dtype=torch.bool)]
    all_keys = torch.cat([old, positions], 1)
    return _frames_after(prefix, frames, positions, all_keys, torch.cat(seen, 1))


def _frames_after(
    prefix: Tensor, frames: Frames, positions: Tensor, keys: Tensor, visible: Tensor
) -> list[Tensor]:
    """Frames of tokens that follow the X tokens of prefix (layers, 1, kv, X, d), all seen."""
    size = prefix.shape[3]
    first = torch.arange(size).expand(positions.shape[0], size)
    all_keys = torch.cat([first, keys + size], 1)
    seen = torch.cat([torch.ones_like(first, dtype=torch.bool), visible], 1)
    made: list[Frame] = frames(positions + size, all_keys, seen)
    return [tensor for frame in made for tensor in frame]


def _everywhere(x: Tensor, *route: Tensor) -> Route:
    """An adapter acts on every row of x (L, B, T, D), through a route or its only block."""
    active = torch.ones(x.shape[1:3], dtype=torch.bool)
    return Route(route[0], route[1], active) if route else Route.ungated(active)


def _segments(*caches: Tensor) -> tuple[Segment, ...]:
    """Keys and values in turn, float16 as stored, to float32 segments."""
    return tuple((k.float(), v.float()) for k, v in zip(caches[::2], caches[1::2], strict=True))


def _cache(states: Tensor) -> Tensor:
    """Keys or values (L, B, T, kv, d) → those of the first lane as (B, kv, T, d)."""
    return states[0].transpose(1, 2)
