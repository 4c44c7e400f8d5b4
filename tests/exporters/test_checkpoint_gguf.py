"""GGUF checkpoints: bits, row order, metadata, tokenizers, and files that are not right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from tiny import CORPUS, TEMPLATE, load_tensors
from tokenizers import Tokenizer

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.checkpoint._gguf_blocks import read_tensor
from dsa_edge.exporters.checkpoint._gguf_file import GgufFile
from dsa_edge.exporters.decoder import QuantizedWeight, quantize

Tiny = Callable[[str], Path]
TEXTS = (*CORPUS, "list:\n\n1. a\n2. b", "x   42  7", "don't\tstop", "日本 é", "<|bos|>hi<|eos|>")


def one_tensor(file: Path, kind: GGMLQuantizationType, largest: int) -> np.ndarray:
    """Write a file with one tensor `w` (16, 512) of random bytes up to `largest`; return them."""
    block, size = GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(3).integers(0, largest, (16, 512 // block * size), np.uint8, True)
    if kind in (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0):
        halves = 4 if kind == GGMLQuantizationType.Q4_1 else 2
        raw.reshape(-1, size)[:, :halves] &= 0x3B  # scales and minima stay finite
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("w", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return raw


@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4), ("Q4_1", 4), ("Q8_0", 8)])
def test_blocks_of_32_keep_their_bits(tmp_path: Path, kind: str, bits: int) -> None:
    type_ = GGMLQuantizationType[kind]
    raw = one_tensor(tmp_path / "w.gguf", type_, 255)  # −128 occurs as well
    weight = read_tensor(GgufFile(tmp_path / "w.gguf"), "w")
    assert isinstance(weight, QuantizedWeight)
    assert (weight.bits, weight.shape) == (bits, (16, 512))
    assert (weight.minimum is not None) == (kind == "Q4_1")
    np.testing.assert_array_equal(weight.dense(), gguf.quants.dequantize(raw, type_))


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q5_0", "Q5_1", "Q2_K", "Q4_K", "Q6_K"])
def test_other_types_become_float32(tmp_path: Path, kind: str) -> None:
    type_ = GGMLQuantizationType[kind]
    raw = one_tensor(tmp_path / "w.gguf", type_, 59)  # every half and float is finite
    weight = read_tensor(GgufFile(tmp_path / "w.gguf"), "w")
    assert isinstance(weight, np.ndarray)
    assert weight.dtype == np.float32
    assert weight.flags.writeable
    np.testing.assert_array_equal(weight, gguf.quants.dequantize(raw, type_).reshape(16, 512))


@pytest.mark.parametrize("family", ["llama-bias", "mistral", "qwen2", "gemma3"])
def test_rows_lie_as_in_transformers(
    tiny_checkpoint: Tiny, tiny_gguf: Callable[..., Path], family: str
) -> None:
    theirs = load_tensors(tiny_checkpoint(family))
    ours = open_checkpoint(tiny_gguf("Q4_1", family=family))
    for part in "qkvo":
        name = f"model.layers.2.self_attn.{part}_proj"
        weight = ours.weight(f"layers.2.{part}")
        assert isinstance(weight, QuantizedWeight)
        quantized = gguf.quants.quantize(theirs[f"{name}.weight"], GGMLQuantizationType.Q4_1)
        expected = gguf.quants.dequantize(quantized, GGMLQuantizationType.Q4_1)
        np.testing.assert_array_equal(weight.dense(), expected)
        assert ours.has(f"layers.2.{part}.bias") == (f"{name}.bias" in theirs)
        if ours.has(f"layers.2.{part}.bias"):
            bias = ours.weight(f"layers.2.{part}.bias")
            np.testing.assert_array_equal(bias, theirs[f"{name}.bias"])


def test_what_the_file_says_of_itself(tiny_gguf: Callable[..., Path]) -> None:
    file = tiny_gguf()
    checkpoint = open_checkpoint(str(file))
    assert (checkpoint.source, checkpoint.name, checkpoint.licence) == (
        "gguf",
        "Tiny",
        "apache-2.0",
    )
    assert (checkpoint.bos_id, checkpoint.eos_ids, checkpoint.pad_id) == (0, (1,), 2)
    assert checkpoint.chat_template == TEMPLATE
    assert checkpoint.add_bos is False
    assert checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert checkpoint.has("layers.2.norms.mlp")
    assert not checkpoint.has("head")
    assert not checkpoint.has("layers.3.q")
    with pytest.raises(CheckpointError, match=r"no tensor 'head' .* ask `has` first"):
        checkpoint.weight("head")


def test_silent_metadata_has_its_defaults(tiny_gguf: Callable[..., Path]) -> None:
    keys = ["general.name", "general.license", "tokenizer.chat_template"]
    keys += ["tokenizer.ggml.add_bos_token", "tokenizer.ggml.padding_token_id"]
    checkpoint = open_checkpoint(tiny_gguf(metadata=dict.fromkeys(keys)))
    assert (checkpoint.name, checkpoint.licence) == ("tiny", None)
    assert (checkpoint.chat_template, checkpoint.pad_id) == (None, None)
    assert checkpoint.add_bos is False
    keys_of_llama3 = {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": None}
    assert open_checkpoint(tiny_gguf(metadata=keys_of_llama3)).add_bos is True


def test_chat_endings_count_as_eos(tiny_gguf: Callable[..., Path]) -> None:
    tokens = GgufFile(tiny_gguf()).metadata["tokenizer.ggml.tokens"]
    tokens[299] = "<|im_end|>"
    types = [3 if token.startswith("<|") else 1 for token in tokens]
    changed = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    changed |= {"tokenizer.ggml.merges": []}
    assert open_checkpoint(tiny_gguf(metadata=changed)).eos_ids == (1, 299)


# ---- tokenizers


def test_tokenizer_equals_the_original(
    tiny_checkpoint: Tiny, tiny_gguf: Callable[..., Path]
) -> None:
    original = Tokenizer.from_file(str(tiny_checkpoint("llama") / "tokenizer.json"))
    rebuilt = Tokenizer.from_str(open_checkpoint(tiny_gguf()).tokenizer_json)
    for text in TEXTS:
        ids = rebuilt.encode(text, add_special_tokens=False).ids
        assert ids == original.encode(text, add_special_tokens=False).ids
        assert rebuilt.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("rule", "pieces"),
    [
        ("gpt-2", ["Ab", "'s", "Ċ", "Ċ", "123", "Ġ", "Ġ4", ".", "Ċ", "x"]),
        ("smollm", ["Ab", "'s", "ĊĊ", "1", "2", "3", "ĠĠ", "4", ".", "Ċ", "x"]),
        ("llama-bpe", ["Ab", "'s", "ĊĊ", "123", "Ġ", "Ġ", "4", ".Ċ", "x"]),
        ("qwen2", ["Ab", "'s", "ĊĊ", "1", "2", "3", "Ġ", "Ġ", "4", ".Ċ", "x"]),
        ("tekken", ["Ab", "'s", "ĊĊ", "1", "2", "3", "Ġ", "Ġ", "4", ".Ċ", "x"]),
    ],
)
def test_text_is_cut_by_the_stated_rule(
    tiny_gguf: Callable[..., Path], rule: str, pieces: list[str]
) -> None:
    checkpoint = open_checkpoint(tiny_gguf(metadata={"tokenizer.ggml.pre": rule}))
    cutter = Tokenizer.from_str(checkpoint.tokenizer_json).pre_tokenizer
    assert [piece for piece, _ in cutter.pre_tokenize_str("Ab's\n\n123  4.\nx")] == pieces


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_sentencepiece_vocabularies(tiny_gguf: Callable[..., Path], family: str) -> None:
    pieces = ["▁", "t", "h", "e", "c", "a", "th", "the", "▁the", "at", "cat", "▁cat"]
    special = (
        ["<pad>", "<eos>", "<bos>", "<unk>"] if family == "gemma3" else ["<unk>", "<s>", "</s>"]
    )
    tokens = special + [f"<0x{i:02X}>" for i in range(256)] + pieces
    changed = dict.fromkeys(("tokenizer.ggml.merges", "tokenizer.ggml.pre")) | {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))],
        "tokenizer.ggml.token_type": [3] * len(special) + [6] * 256 + [1] * len(pieces),
        "tokenizer.ggml.bos_token_id": tokens.index(special[-2]),
        "tokenizer.ggml.add_bos_token": None,
    }
    checkpoint = open_checkpoint(tiny_gguf(metadata=changed, family=family))
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    first = "the" if family == "gemma3" else "▁the"  # Gemma puts no space in front
    text = "the cat é"
    encoded = tokenizer.encode(text, add_special_tokens=False)
    assert encoded.tokens == [first, "▁cat", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(encoded.ids) == text
    assert checkpoint.add_bos is True
    assert checkpoint.bos_id == tokens.index(special[-2])


# ---- the real model


@pytest.mark.model
def test_smollm2_tokenizes_like_upstream(smollm2: Path) -> None:
    checkpoint = open_checkpoint(smollm2)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    # transformers' own conversion of this file gives "Ċ Ċ 1" and "ĠĠ Ġ 4 2" (no digit rule).
    for text, tokens in (
        ("12345 apples", "1 2 3 4 5 Ġapples"),
        ("list:\n\n1. a\n2. b", "list : ĊĊ 1 . Ġa Ċ 2 . Ġb"),
        ("x   42  7", "x ĠĠĠ 4 2 ĠĠ 7"),
        ("I don't know", "I Ġdon 't Ġknow"),
        ("<|im_start|>user\n", "<|im_start|> user Ċ"),
    ):
        assert tokenizer.encode(text, add_special_tokens=False).tokens == tokens.split(" ")
    assert (checkpoint.bos_id, checkpoint.eos_ids, checkpoint.add_bos) == (1, (2, 0), False)
    assert checkpoint.licence == "apache-2.0"
    assert checkpoint.chat_template is not None


@pytest.mark.model
@pytest.mark.slow
def test_smollm2_has_the_logits_of_transformers(smollm2: Path) -> None:
    import torch
    import transformers

    from dsa_edge.exporters.decoder import build_decoder

    checkpoint = open_checkpoint(smollm2)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    tokens = torch.tensor([tokenizer.encode("The capital of France has 2 airports.").ids])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32
    )
    with torch.no_grad():
        expected = model(tokens).logits
        ours = build_decoder(checkpoint, "int4")(tokens)[0]
    # The weights are the same bits. 30 layers of float32 sums in another order leave 6e-5, on
    # logits of ±20; 1e-3 leaves room for other processors.
    assert (ours - expected).abs().max() <= 1e-3


def test_our_own_int4_is_as_good_as_q4_1() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    theirs = gguf.quants.dequantize(
        gguf.quants.quantize(weight, GGMLQuantizationType.Q4_1), GGMLQuantizationType.Q4_1
    )
    ours = quantize(weight, 4).dense()
    assert np.square(ours - weight).mean() <= 1.01 * np.square(theirs - weight).mean()
