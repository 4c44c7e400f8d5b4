"""Merging into few bits loses what was learned: measured, refused, and in float32 when forced."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAMILIES

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.checkpoint._huggingface_config import huggingface_spec, text_config
from dsa_edge.exporters.decoder import DecoderSpec, quantize
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.runtime.interchange import merge_adapter, merge_loss
from dsa_edge.runtime.interchange._base import Quantized, open_base
from dsa_edge.runtime.interchange._checkpoint import config_of
from dsa_edge.runtime.interchange._deltas import deltas

Exported = Callable[..., Bundle]
Learned = Callable[[Bundle], Adapter]


def test_a_small_change_is_lost_in_4_bits_and_a_large_one_is_not(
    lora: Bundle, learned: Learned
) -> None:
    numbers = learned(lora).vector
    small, large = (
        merge_loss(lora, Adapter(numbers * f)) for f in (np.float32(0.05), np.float32(4))
    )
    assert small.bits == 4
    assert small.lost > 0.9  # nearly all of it
    assert large.lost < 0.2
    assert small.linears.keys() == {f"layers.{n}.{t}" for n in (1, 2) for t in
                                    ("q", "k", "v", "o", "gate", "up", "down")}  # fmt: skip
    assert small.linears[small.worst] == max(small.linears.values())


def test_the_loss_is_what_rounding_anew_does(lora: Bundle, learned: Learned) -> None:
    """Held against the exporter's own rounding, which is one of the two grids."""
    delta = deltas(lora, learned(lora))[0]
    stored = open_base(lora).quantized(f"layers.{delta.layer}.{delta.target}")
    wanted = stored.dense + delta.dense
    anew = quantize(wanted, 4).dense()
    np.testing.assert_array_equal(stored.rounded(wanted)[1], anew)
    loss = merge_loss(lora, learned(lora)).linears[f"layers.{delta.layer}.{delta.target}"]
    assert 0 < loss <= np.linalg.norm(anew - wanted) / np.linalg.norm(delta.dense) + 1e-6


@pytest.mark.parametrize("bits", [4, 8])
def test_a_weight_stays_on_its_own_grid(bits: int) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    made = quantize(weight, bits)
    stored = Quantized(made.codes, made.scales, made.minimum)
    assert stored.bits == bits
    np.testing.assert_array_equal(stored.rounded(stored.dense)[0], stored.dense)
    np.testing.assert_array_equal(stored.rounded(weight)[1], made.dense())


def test_a_merge_is_refused_with_the_loss(lora: Bundle, learned: Learned, tmp_path: Path) -> None:
    adapter = Adapter(learned(lora).vector * np.float32(0.05))
    lost = merge_loss(lora, adapter).lost
    with pytest.raises(AdapterError, match=rf"4 bits would lose {lost:.0%}.*--force"):
        merge_adapter(lora, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    nothing = Adapter(np.zeros_like(adapter.vector))
    with pytest.raises(AdapterError, match="adds nothing"):
        merge_adapter(lora, nothing, tmp_path / "out", force=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_configuration_of_every_family_comes_back(
    tiny_checkpoint: Callable[[str], Path], family: str
) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint(family))
    config = config_of(asdict(checkpoint.spec), TokenizerInfo("", 0, (1,), 2, False))
    stated = json.loads(json.dumps(config))  # as a file has it
    again = huggingface_spec(Path("config.json"), text_config(Path("config.json"), stated))
    assert again == checkpoint.spec


@pytest.mark.parametrize(
    ("kind", "family"),
    [("lora", "llama"), ("core", "llama"), ("lora", "qwen2"), ("lora", "gemma3-softcap")],
)
def test_forced_the_merged_model_is_one_of_transformers(
    exported: Exported, learned: Learned, tmp_path: Path, kind: str, family: str
) -> None:
    """The same logits as our own decoder with W + B A, and our exporter reads it too."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dsa_edge.exporters._reload import reload_model

    bundle = exported(kind, family)
    adapter = learned(bundle)
    merged = merge_adapter(bundle, adapter, tmp_path / "out", force=True)
    ids = torch.tensor([[3, 50, 70, 90, 120, 14, 15, 16, 17, 18, 19]])
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(merged.folder)(ids).logits
        decoder = reload_model(bundle).decoder
        plain = decoder(ids)[0]
        _add(decoder, bundle, adapter)
        ours = decoder(ids)[0]
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    assert (ours - plain).abs().max() > 0.01
    assert AutoTokenizer.from_pretrained(merged.folder)("The baker")["input_ids"]
    spec = DecoderSpec.from_dict(bundle.manifest.decoder)
    assert open_checkpoint(merged.folder).spec == spec


def _add(decoder: torch.nn.Module, bundle: Bundle, adapter: Adapter) -> None:
    """Put B A behind every adapted linear of our decoder."""
    for delta in deltas(bundle, adapter):
        dense = torch.from_numpy(delta.dense.T.copy())
        linear = decoder.get_submodule(f"layers.{delta.layer}.linears.{delta.target}")
        linear.register_forward_hook(lambda _, given, y, w=dense: y + given[0] @ w)


def test_only_packed_weights_cannot_be_merged(lora: Bundle, learned: Learned) -> None:
    from dsa_edge.manifest import Manifest

    without = Bundle(lora.path, Manifest(**{**vars(lora.manifest), "methods": {}}))
    with pytest.raises(AdapterError, match="for ExecuTorch alone.*--backend onnx"):
        merge_loss(without, learned(lora))
