"""Our decoder against transformers, on tiny random models of every family and variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import FAMILIES, VOCAB_SIZE, change, copy_of
from tiny_gguf import make_gguf

from dsa_edge.errors import UsageError
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import Decoder, QuantizedWeight, build_decoder

TOLERANCE = 1e-4  # float32, logits of several units
TOKENS = torch.tensor(np.random.default_rng(7).integers(0, VOCAB_SIZE, (2, 29)))  # window is 7
# What GGUF can say: no bias switch, no dynamic scaling, no windows for Qwen.
IN_GGUF = ["llama", "llama-untied", "llama-bias", "llama-llama3", "llama-linear", "llama-yarn"]
IN_GGUF += ["mistral", "mistral-global", "qwen2", "qwen3", "gemma3"]

Tiny = Callable[[str], Path]


def logits(decoder: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return decoder(TOKENS)[0]


def reference(folder: Path) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(TOKENS).logits


def linear(decoder: Decoder, layer: int, target: str) -> Any:
    return decoder.get_submodule(f"layers.{layer}.linears.{target}")


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(tiny_checkpoint: Tiny, family: str) -> None:
    folder = tiny_checkpoint(family)
    expected = reference(folder)
    ours = logits(build_decoder(open_checkpoint(folder), "none"))
    assert expected.std() > 0.5  # the comparison means something
    assert (ours - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("family", IN_GGUF)
def test_gguf_of_the_same_model_has_the_same_logits(
    tiny_checkpoint: Tiny, tmp_path: Path, family: str
) -> None:
    folder = tiny_checkpoint(family)
    if family == "gemma3":  # llama.cpp fixes the query scale to head_dim ** -0.5
        folder = copy_of(folder, tmp_path / "gemma3")
        change(folder / "config.json", {"query_pre_attn_scalar": 32})
    file = make_gguf(folder, tmp_path / "tiny.gguf")
    ours = logits(build_decoder(open_checkpoint(file), "none"))
    assert (ours - reference(folder)).abs().max() <= TOLERANCE


@pytest.mark.parametrize(("quantization", "limit"), [("int8", 0.05), ("int4", 0.6)])
def test_quantized_decoders_stay_close(
    tiny_checkpoint: Tiny, quantization: str, limit: float
) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint("llama-untied"))
    exact = logits(build_decoder(checkpoint, "none"))
    rounded = logits(build_decoder(checkpoint, quantization))
    error = (rounded - exact).pow(2).mean().sqrt() / exact.std()
    assert 0 < error < limit


def test_quantization_by_name(tiny_checkpoint: Tiny) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint("llama-untied"))
    decoder = build_decoder(checkpoint, "int4")
    assert [linear(decoder, 0, t).bits for t in "qkvo"] == [4] * 4
    assert decoder.embedding.bits == decoder.top.table.bits == 8
    assert linear(build_decoder(checkpoint, "int8"), 2, "down").bits == 8
    with pytest.raises(UsageError, match=r"'q4' is unknown: use one of int4, int8, none"):
        build_decoder(checkpoint, "q4")


@pytest.mark.parametrize("quantization", ["int4", "int8"])
@pytest.mark.parametrize(("kind", "bits"), [("Q4_1", 4), ("Q4_0", 4), ("Q8_0", 8)])
def test_bits_of_a_gguf_file_survive(
    tiny_checkpoint: Tiny, tmp_path: Path, quantization: str, kind: str, bits: int
) -> None:
    file = make_gguf(tiny_checkpoint("llama-untied"), tmp_path / "tiny.gguf", kind, kind)
    checkpoint = open_checkpoint(file)
    decoder = build_decoder(checkpoint, quantization)
    stored = checkpoint.weight("layers.1.up")
    assert isinstance(stored, QuantizedWeight)
    assert linear(decoder, 1, "up").bits == stored.bits == bits
    assert np.array_equal(linear(decoder, 1, "up").codes.numpy(), stored.codes)
    table = checkpoint.weight("embedding")
    assert isinstance(table, QuantizedWeight)
    assert decoder.embedding.bits == 8
    assert decoder.embedding.minimum is None
    error = np.abs(decoder.embedding.dense().numpy() - table.dense()).max()
    assert error == 0 if kind != "Q4_1" else 0 < error < 0.01
