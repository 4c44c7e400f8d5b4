"""Shifted sparse attention: part by part against the paper's rolled heads on whole prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FAMILIES, make_checkpoint
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import Decoder, Layer, build_decoder
from dsa_edge.exporters.decoder._rope import rotate
from dsa_edge.exporters.methods import Chains
from dsa_edge.exporters.model import AdaptedModel, TorchCaller

GROUP = 16
# Shorter than half a group, than a group, exactly one and two, and what ends within either half.
LENGTHS = [5, 13, 16, 21, 27, 32, 53]
HEADS = {
    "llama-1": ("Llama", {"num_key_value_heads": 1}),
    "llama-3": ("Llama", {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 3}),
    "llama-odd": ("Llama", {"hidden_size": 96, "num_attention_heads": 3, "num_key_value_heads": 1}),
}
KINDS = ["llama", *HEADS, "mistral", "qwen3", "gemma3", "gemma3-softcap"]


@pytest.fixture(scope="module")
def model_of(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AdaptedModel]:
    made: dict[str, AdaptedModel] = {}

    def model(kind: str) -> AdaptedModel:
        if kind not in made:
            made[kind] = adapted(kind, tiny_checkpoint, tmp_path_factory)
        return made[kind]

    return model


def adapted(
    kind: str, tiny_checkpoint: Callable[[str], Path], paths: pytest.TempPathFactory
) -> AdaptedModel:
    if kind in HEADS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(FAMILIES, kind, HEADS[kind])
            folder = make_checkpoint(paths.mktemp("heads") / kind, kind)
    else:
        folder = tiny_checkpoint(kind)
    model = AdaptedModel(build_decoder(open_checkpoint(folder), "none"), AdapterSpec(rank=4))
    for layer in range(model.split, model.decoder.spec.n_layers):
        model.add_blocks(layer)
    return model.eval()


def rolled(decoder: Decoder, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Keys and values (P, kv, d) of every layer, with half of the heads rolled as in the paper.

    The text is padded to whole groups; of the paper's plain causal mask in rolled order only what
    is causal in the text's own order as well is kept: nothing sees across the wrap.
    """
    length = tokens.shape[1]
    padded = torch.nn.functional.pad(tokens, (0, -length % GROUP))
    size = padded.shape[1]
    positions = torch.arange(size)[None]
    frames = decoder.frames(positions, positions, torch.ones(1, size, dtype=torch.bool))
    x, found = decoder.embed(padded), []
    for index, layer in enumerate(decoder.layers):
        assert isinstance(layer, Layer)
        cos, sin, mask = frames[decoder.spec.frame_of(index)]
        x, k, v = one_layer(layer, x, cos, sin, mask[0])
        found.append((k[0, 0, :length], v[0, 0, :length]))
    return found


def one_layer(layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Any:
    spec = layer.spec
    h = layer.norms["attention"](x)
    k, v = layer.keys(x, cos, sin)
    q = rotate(layer._heads("q", h, spec.n_heads, None), cos, sin)
    share = spec.n_heads // spec.n_kv_heads
    wide = [t[0, 0].repeat_interleave(share, 1) for t in (k, v)]  # (P, heads, d)
    whole = spec.n_kv_heads // 2 * share if spec.n_kv_heads > 1 else spec.n_heads // 2
    heads = [
        one_head(q[0, 0, :, head], wide[0][:, head], wide[1][:, head], mask, head >= whole, spec)
        for head in range(spec.n_heads)
    ]
    mixed = layer._after("attention_out", layer.linears["o"](torch.cat(heads, -1)[None, None]))
    x = x + mixed * spec.residual_scale
    return x + layer._mlp(x, None) * spec.residual_scale, k, v


def one_head(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, shifted: bool, spec: Any) -> Tensor:
    order = torch.arange(len(q)).roll(-(GROUP // 2) if shifted else 0)  # roll along tokens
    mixed = torch.empty_like(v)
    for at in range(0, len(q), GROUP):
        own = order[at : at + GROUP]
        scores = q[own] @ k[own].T * spec.scale
        if spec.attention_softcap is not None:
            scores = torch.tanh(scores / spec.attention_softcap) * spec.attention_softcap
        causal = torch.ones(GROUP, GROUP).tril().bool()  # as the paper has it, in rolled order
        scores = scores.masked_fill(~causal, -1e9) + mask[own][:, own]  # and in the text's own
        mixed[own] = scores.softmax(-1) @ v[own]
    return mixed


def by_parts(model: AdaptedModel, tokens: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Keys and values (layers, kv, P, d) by the chain, on top of the last two half groups."""
    spec, half = model.decoder.spec, GROUP // 2
    frame_of = tuple(spec.frame_of(i) for i in range(spec.n_layers))
    caller = TorchCaller(model)
    caller.stack = torch.stack  # type: ignore[method-assign]  # float32: what is compared is the mask
    chains = Chains(caller, spec.n_layers, model.split, 1, frame_of)
    empty = torch.zeros(spec.n_layers, 1, spec.n_kv_heads, 0, spec.head_dim)
    keys, values, done = empty, empty, 0
    while done < tokens.shape[1]:
        end = min(done + step, tokens.shape[1])
        first = max(0, done // half - 1) * half
        given = (tokens[:, done:end], torch.tensor([first]), torch.tensor([GROUP]))
        out = chains.prefill_grouped(*given, keys[:, :, :, first:], values[:, :, :, first:])
        keys = torch.cat([keys, out["keys"]], 3)
        values = torch.cat([values, out["values"]], 3)
        done = end
    return keys[:, 0], values[:, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_equal_the_rolled_heads_of_the_paper(
    model_of: Callable[[str], AdaptedModel], kind: str
) -> None:
    model = model_of(kind)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for length in LENGTHS:
            tokens = torch.randint(0, 300, (1, length), generator=random)
            expected = rolled(model.decoder, tokens)
            for step in (GROUP // 2, 3, 64):  # parts of half a group, less, and all at once
                keys, values = by_parts(model, tokens, step)
                for layer, (k, v) in enumerate(expected):
                    torch.testing.assert_close(keys[layer].transpose(0, 1), k, atol=1e-5, rtol=1e-5)
                    torch.testing.assert_close(
                        values[layer].transpose(0, 1), v, atol=1e-5, rtol=1e-5
                    )


def test_no_token_sees_what_comes_later(model_of: Callable[[str], AdaptedModel]) -> None:
    """The paper's last group, wrapped around, would show the end of a text to its beginning."""
    model, tokens = model_of("llama"), torch.arange(3, 3 + 2 * GROUP)[None]
    changed = tokens.clone()
    changed[0, -1] = 200
    with torch.no_grad():
        one, other = (by_parts(model, text, 64) for text in (tokens, changed))
    for before, after in zip(one, other, strict=True):
        torch.testing.assert_close(before[:, :, :-1], after[:, :, :-1], atol=0, rtol=0)
        assert (before[:, :, -1] != after[:, :, -1]).any()
