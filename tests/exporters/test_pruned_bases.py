"""A pruned base computes what the base before does without these units, from the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.exporters.adapters import Route
from dsa_edge.exporters.checkpoint import Checkpoint, open_checkpoint
from dsa_edge.exporters.checkpoint._canonical import canonical_shapes
from dsa_edge.exporters.decoder import QuantizedWeight, build_decoder
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.training import Cut, PrunedSource
from dsa_edge.exporters.training._masks import Masks
from dsa_edge.kernels.quantized_linear import unpack_codes

KV = ((0,), (1,), (1,))  # of 2 groups
FFN = ((0, 2), (1, 2), (0, 1))  # of 3 blocks


def cut_of(source: Checkpoint) -> Cut:
    return Cut(source.spec, KV, FFN)


class Zeroed:
    """The base before, with nothing coming out of the pruned units."""

    def __init__(self, source: Checkpoint) -> None:
        self.spec, self._source = source.spec, source
        self.has = source.has

    def weight(self, name: str) -> Any:
        weight = self._source.weight(name)
        parts = name.split(".")
        if parts[0] != "layers" or parts[2] not in ("v", "up"):
            return weight
        layer, size = int(parts[1]), self.spec.head_dim if parts[2] == "v" else 32
        kept = KV[layer] if parts[2] == "v" else FFN[layer]
        out = np.repeat(np.isin(np.arange(len(weight) // size), kept), size)
        return weight * (out[:, None] if weight.ndim == 2 else out).astype(np.float32)


@pytest.mark.parametrize("family", ["llama", "llama-bias", "qwen3", "gemma3", "mistral"])
def test_a_pruned_base_is_the_base_with_these_outputs_zero(
    tiny_checkpoint: Callable[[str], Path], family: str
) -> None:
    source = open_checkpoint(tiny_checkpoint(family))
    tokens = torch.arange(40).view(2, 20)
    pruned = build_decoder(PrunedSource(source, cut_of(source)), "int4")
    before = build_decoder(Zeroed(source), "int4")
    assert pruned.spec.n_heads * 2 == before.spec.n_heads
    expected = before(tokens)
    assert (build_decoder(source, "int4")(tokens) - expected).abs().max() > 0.1
    # sums are of fewer terms in another order, in float32
    torch.testing.assert_close(pruned(tokens), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("linears", ["Q4_0", "Q4_1", "Q8_0"])
def test_what_is_left_keeps_its_stored_bits(tiny_gguf: Callable[..., Path], linears: str) -> None:
    source = open_checkpoint(tiny_gguf(linears))
    pruned = PrunedSource(source, cut_of(source))
    for layer, (kv, ffn) in enumerate(zip(KV, FFN, strict=True)):
        neurons = members(ffn, 32)
        heads = members(kv, 32)  # a key-value head of 16, and the two query heads that share it
        for name, rows, columns in [
            ("q", heads, None), ("k", members(kv, 16), None), ("v", members(kv, 16), None),
            ("o", None, heads), ("gate", neurons, None), ("up", neurons, None),
            ("down", None, neurons),
        ]:  # fmt: skip
            before, after = (at.weight(f"layers.{layer}.{name}") for at in (source, pruned))
            assert isinstance(before, QuantizedWeight)
            assert isinstance(after, QuantizedWeight)
            for old, new, group in [
                (unpack_codes(before.codes, before.bits), unpack_codes(after.codes, after.bits), 1),
                (before.scales, after.scales, 32), (before.minimum, after.minimum, 32),
            ]:  # fmt: skip
                if old is None or new is None:
                    assert old is new
                    continue
                wanted = old if rows is None else old[rows]
                if columns is not None:
                    wanted = wanted[:, columns[::group] // group]
                np.testing.assert_array_equal(new, wanted)


def members(units: tuple[int, ...], size: int) -> NDArray[np.int64]:
    return np.concatenate([np.arange(unit * size, (unit + 1) * size) for unit in units])


@pytest.mark.parametrize("family", ["llama-bias", "llama-untied", "qwen3-bias", "gemma3"])
def test_all_layers_have_the_geometry_that_is_left(
    tiny_checkpoint: Callable[[str], Path], family: str
) -> None:
    source = open_checkpoint(tiny_checkpoint(family))
    pruned = PrunedSource(source, cut_of(source))
    assert (pruned.spec.n_kv_heads, pruned.spec.ffn_width) == (1, 64)
    for name, shape in canonical_shapes(pruned.spec):
        assert pruned.has(name)
        assert pruned.weight(name).shape == shape, name


def float_model(source: Any, spec: AdapterSpec) -> AdaptedModel:
    return AdaptedModel(build_decoder(source, "none"), spec).eval()


@pytest.mark.parametrize("kind", ["core", "diagonal"])
def test_a_core_means_the_same_on_the_base_before(
    tiny_checkpoint: Callable[[str], Path], kind: str
) -> None:
    """The pruned base with cut directions is the base before with masks of 0, adapter and all."""
    source = open_checkpoint(tiny_checkpoint("llama"))
    spec, cut = AdapterSpec(kind, rank=4, split=0.3), cut_of(source)
    before = float_model(source, spec)
    after = float_model(PrunedSource(source, cut), spec)
    for layer in range(before.split, 3):
        before.add_blocks(layer)
        frozen = {
            point: cut.factors(layer, point, dict(block.named_buffers()), None)
            for point, block in before.layer_blocks(layer).blocks.items()
        }
        after.set_blocks(layer, frozen)
    tokens = torch.arange(24).view(2, 12)
    active = torch.arange(12).expand(2, 12) >= 8
    theta = 0.5 * torch.randn(1, before.size, generator=torch.Generator().manual_seed(0))
    masks = Masks(*(mask_of(kept, n) for kept, n in ((KV, 2), (FFN, 3))), source.spec)
    masked = masks.lanes(before.lanes(theta, active), Route.ungated(active))
    expected = before.decoder(tokens, masked)
    got = after.decoder(tokens, after.lanes(theta, active))
    assert (got - after.decoder(tokens)).abs().max() > 0.05  # the adapter does something
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)


def mask_of(kept: tuple[tuple[int, ...], ...], count: int) -> Tensor:
    return torch.tensor([[float(unit in layer) for unit in range(count)] for layer in kept])
