"""Checkpoints that are not right: each is refused in one sentence, none with a raw traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import change, copy_of, rewrite, train_tokenizer

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.checkpoint._gguf_file import GgufFile

Tiny = Callable[[str], Path]
INDEX = "model.safetensors.index.json"


def refused(where: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(where)
    assert_one_sentence(str(caught.value))


def assert_one_sentence(message: str) -> None:
    """Ends in a full stop, holds no line break, and does not go on."""
    assert message.endswith(".")
    assert "\n" not in message


# ---- GGUF files


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "mamba"}, r"holds the architecture 'mamba', expected .* llama"),
        ({"llama.expert_count": 8}, r"holds a mixture of experts"),
        ({"llama.block_count": None}, r"states llama.block_count as None, expected a whole number"),
        (
            {"llama.block_count": 2**31},
            r"block_count as 2147483648, expected a whole number from 1",
        ),
        ({"llama.attention.head_count": 0}, r"head_count as 0, expected a whole number from 1"),
        ({"llama.attention.head_count_kv": 3}, r"4 query heads cannot share 3 key heads"),
        ({"llama.attention.head_count_kv": [2, 2, 1]}, r"head_count_kv as \[2, 2, 1\]"),
        ({"llama.attention.key_length": 15}, r"rotates 15 values of each head, an odd number"),
        ({"llama.rope.dimension_count": 99}, r"dimension_count as 99, expected .* to 16"),
        ({"llama.rope.scaling.type": "longrope"}, r"by 'longrope' without storing the factors"),
        ({"llama.rope.freq_base": -1.0}, r"freq_base as -1.0, expected a number above 0"),
        ({"llama.block_count": 4}, r"lacks the tensor 'blk.3.attn_q.weight' \[64, 64\]"),
        ({"llama.feed_forward_length": 128}, r"'blk.0.ffn_gate.weight' has shape \[96, 64\], exp"),
        ({"split.count": 3}, r"one of 3 parts, .* `llama-gguf-split --merge`"),
        ({"general.alignment": 24}, r"alignment 24, expected a power of two"),
        ({"tokenizer.ggml.pre": "unheard"}, r"by the rule 'unheard', which is not known here"),
        ({"tokenizer.ggml.model": None}, r"tokenizer model None, expected 'gpt2' or 'llama'"),
        ({"tokenizer.ggml.tokens": None}, r"holds no vocabulary"),
        ({"tokenizer.ggml.token_type": [1, 1]}, r"300 tokens but not as many token types"),
        ({"tokenizer.ggml.tokens": ["x"] * 321}, r"321 tokens, but its embedding has 320 rows"),
    ],
)
def test_refuses_on_opening(
    tiny_gguf: Callable[..., Path], metadata: dict[str, Any], message: str
) -> None:
    file = tiny_gguf(metadata=metadata)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(file)
    assert_one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"tokenizer.ggml.merges": None}, r"holds no merges"),
        ({"tokenizer.ggml.merges": ["q qqq"]}, r"merges that do not fit its vocabulary"),
        ({"tokenizer.ggml.merges": ["q"]}, r"merges that do not fit its vocabulary"),
        (
            {"tokenizer.ggml.model": "llama", "tokenizer.ggml.merges": None},
            r"transformers cannot build the tokenizer of tiny.gguf \(.*scores",
        ),
    ],
)
def test_refuses_a_bad_tokenizer(
    tiny_gguf: Callable[..., Path], metadata: dict[str, Any], message: str
) -> None:
    checkpoint = open_checkpoint(tiny_gguf(metadata=metadata))
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.tokenizer_json  # noqa: B018  (a property that does work)
    assert_one_sentence(str(caught.value))


def test_refuses_types_that_nobody_dequantizes(tiny_gguf: Callable[..., Path]) -> None:
    name = b"\x15\0\0\0\0\0\0\0blk.0.ffn_down.weight"  # length, name; then dimensions and type
    content = tiny_gguf().read_bytes()
    at = content.index(name) + len(name) + 4 + 2 * 8
    for number, message in (
        (26, r"has the type I32, which cannot be deq"),
        (99, r"number 99, which"),
    ):
        file = tiny_gguf()
        file.write_bytes(content[:at] + bytes([number]) + content[at + 1 :])
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(file).weight("layers.0.down")


def test_refuses_other_files(tmp_path: Path) -> None:
    for content, name, message in (
        (b"PK\x03\x04zip", "model.zip", r"not a GGUF file \(it starts with b'PK"),
        (b"", "empty.gguf", r"not a GGUF file \(it starts with b''"),
        (b"{}", "config.json", r"is one file of a Hugging Face model: give its folder"),
        (b"GGUF\0\0\0\3", "big.gguf", r"has GGUF version 50331648, expected 2 or 3"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as caught:
            open_checkpoint(tmp_path / name)
        assert_one_sentence(str(caught.value))
    with pytest.raises(CheckpointError, match=r"does not exist: give the folder"):
        open_checkpoint(tmp_path / "nowhere")


def test_every_truncation_is_refused(tiny_gguf: Callable[..., Path], tmp_path: Path) -> None:
    content = tiny_gguf("Q4_1").read_bytes()
    lengths = [*range(4, 600), *range(600, len(content), 997), len(content) - 33]
    file = tmp_path / "cut.gguf"
    for length in lengths:
        file.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"is truncated: .* download it again"):
            open_checkpoint(file)


def test_damaged_headers_never_crash(tiny_gguf: Callable[..., Path], tmp_path: Path) -> None:
    content = tiny_gguf("Q4_1").read_bytes()
    header = GgufFile(tiny_gguf("Q4_1")).tensors
    end = min(tensor.start for tensor in header.values())
    random = np.random.default_rng(11)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for at in random.integers(4, end, 3):
            damaged[at] = random.integers(256)
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        try:
            checkpoint = open_checkpoint(tmp_path / "damaged.gguf")
            checkpoint.weight("layers.0.q")
        except CheckpointError as error:
            refused += 1
            assert_one_sentence(str(error))
    assert refused > 100


# ---- Hugging Face folders


def test_refuses_missing_files(tiny_folder: Path) -> None:
    (tiny_folder / "tokenizer.json").unlink()
    refused(tiny_folder, r"has no tokenizer.json \(nor tokenizer.model, .* next to config.json")
    (tiny_folder / "model.safetensors").rename(tiny_folder / "pytorch_model.bin")
    refused(
        tiny_folder, r"holds only pytorch_model.bin, expected \*.safetensors: .*`save_pretrained`"
    )
    (tiny_folder / "pytorch_model.bin").unlink()
    refused(tiny_folder, r"holds no weights, expected \*.safetensors")
    (tiny_folder / "config.json").unlink()
    refused(tiny_folder, r"has no config.json: give the folder of a Hugging Face model")
    (tiny_folder / "some.gguf").touch()
    refused(tiny_folder, r"has no config.json, but holds some.gguf: give that file instead")


def test_refuses_shards_that_are_missing(tiny_folder: Path) -> None:
    where = {"model.norm.weight": "model.safetensors", "x": "model-00002-of-00002.safetensors"}
    change(tiny_folder / INDEX, {"weight_map": where})
    refused(
        tiny_folder, r"lacks model-00002-of-00002.safetensors, one of the 2 files that .*index.json"
    )
    change(tiny_folder / INDEX, {"weight_map": ["x"]})
    refused(tiny_folder, r"has no weight_map from tensors to files")


@pytest.mark.parametrize("keep", [0, 7, 100, 5000, -1])
def test_refuses_truncated_weights(tiny_folder: Path, keep: int) -> None:
    content = (tiny_folder / "model.safetensors").read_bytes()
    (tiny_folder / "model.safetensors").write_bytes(content[:keep])
    refused(
        tiny_folder, r"model.safetensors is not a whole safetensors file \(.*: download it again"
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_refuses_broken_json(tiny_folder: Path, name: str) -> None:
    (tiny_folder / name).write_text('{"a": ', "utf-8")
    refused(tiny_folder, rf"{name} cannot be read as JSON \(")
    (tiny_folder / name).write_bytes(b"\xff\xfe")
    refused(tiny_folder, rf"{name} cannot be read as JSON \(")
    (tiny_folder / name).write_text("[1]", "utf-8")
    refused(tiny_folder, rf"{name} holds a list, expected a JSON object")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, r"'GPT2LMHeadModel', expected one of LlamaFor"),
        ({"architectures": None}, r"holds the architecture None, expected one of"),
        ({"quantization_config": {"quant_method": "awq"}}, r"the quantization 'awq', expected pl"),
        ({"hidden_size": None}, r"states hidden_size as None, expected a whole number"),
        ({"hidden_size": "64"}, r"states hidden_size as '64', expected a whole number"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers as 1000000000, expected .* to 1000"),
        ({"num_hidden_layers": 4}, r"lacks the tensor 'model.layers.3.self_attn.q_proj.weight'"),
        ({"intermediate_size": 128}, r"'model.layers.0.mlp.gate_proj.weight' has shape \[96, 64\]"),
        ({"tie_word_embeddings": False}, r"lacks the tensor 'lm_head.weight' \[320, 64\]"),
        ({"attention_bias": True}, r"lacks the tensor 'model.layers.0.self_attn.q_proj.bias'"),
        ({"num_key_value_heads": 3}, r"4 query heads cannot share 3 key heads"),
        ({"head_dim": 17}, r"expected an even part of 17 values"),
        ({"hidden_act": "relu"}, r"activation 'relu' is not supported"),
        ({"rms_norm_eps": 0}, r"rms_norm_eps as 0, expected a number above 0"),
        ({"rope_parameters": {"rope_type": "mrope"}}, r"rotary scaling 'mrope' is not supported"),
        ({"rope_parameters": {"rope_type": "llama3"}}, r"llama3 rotary scaling's factor as None"),
        ({"rope_parameters": {"rope_type": "longrope"}}, r"short_factor as None, expected 8 num"),
        ({"rope_parameters": "linear"}, r"rope_parameters as 'linear', expected a JSON object"),
        (
            {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0, 2.0]}},
            r"short_factor as .*, expected 8 numbers",
        ),
    ],
)
def test_refuses_configurations(tiny_folder: Path, changes: dict[str, Any], message: str) -> None:
    change(tiny_folder / "config.json", changes)
    refused(tiny_folder, message)


def test_refuses_both_directions(tiny_checkpoint: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny_checkpoint("gemma3"), tmp_path / "gemma")
    change(folder / "config.json", {"use_bidirectional_attention": True})
    refused(folder, r"use_bidirectional_attention as True, expected a causal model")


def test_any_wrong_type_in_the_configuration_is_refused_or_harmless(
    tiny_checkpoint: Tiny, tmp_path: Path
) -> None:
    """No entry of config.json, whatever it holds, gets past as a raw error of Python."""
    count = 0
    for family in ("llama-longrope", "llama-yarn", "qwen2-window", "gemma3"):
        folder = copy_of(tiny_checkpoint(family), tmp_path / family)
        original = json.loads((folder / "config.json").read_text("utf-8"))
        for key, entry in original.items():
            values: list[Any] = ["text", -3, 0.5, [], ["x"], [["x"]], {"a": 1}, True, 10**400]
            if key == "rope_parameters":
                values += [entry | {inner: v} for inner in entry for v in (*values, None)]
            for value in values:
                (folder / "config.json").write_text(json.dumps(original | {key: value}), "utf-8")
                try:
                    open_checkpoint(folder)
                except CheckpointError:
                    count += 1
    assert count > 100


def test_refuses_packed_tensors(tiny_folder: Path) -> None:
    name = "model.layers.1.self_attn.o_proj.weight"
    rewrite(tiny_folder, lambda tensors: tensors | {name: tensors[name].to(torch.int8)})
    checkpoint = open_checkpoint(tiny_folder)
    with pytest.raises(CheckpointError, match=r"stored as torch.int8, expected float32, bfloat16"):
        checkpoint.weight("layers.1.o")


def test_refuses_tokenizers_that_do_not_fit(tiny_folder: Path) -> None:
    tokenizer = train_tokenizer()
    tokenizer.add_tokens([f"<new{i}>" for i in range(21)])
    tokenizer.save(str(tiny_folder / "tokenizer.json"))
    refused(tiny_folder, r"token ids up to 320, but the embedding has 320 rows")
    (tiny_folder / "tokenizer.json").write_text('{"model": {}}', "utf-8")
    refused(tiny_folder, r"tokenizer.json is not a tokenizer \(")
    (tiny_folder / "tokenizer.json").unlink()
    (tiny_folder / "tokenizer.model").write_bytes(b"nonsense")
    change(tiny_folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    refused(
        tiny_folder, r"transformers cannot build the tokenizer of .*put the model's tokenizer.json"
    )
