"""Hugging Face folders: weights, configurations old and new, tokenizers, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import (
    CORPUS,
    TEMPLATE,
    change,
    copy_of,
    load_tensors,
    make_checkpoint,
    make_model,
    rewrite,
    train_tokenizer,
)
from tokenizers import AddedToken, Tokenizer, processors

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import RopeSpec

Tiny = Callable[[str], Path]
INDEX = "model.safetensors.index.json"


# ---- what a folder says


def test_what_the_folder_says_of_itself(tiny_folder: Path) -> None:
    (tiny_folder / "README.md").write_text(
        "---\nlanguage: en\nlicense: mit\n---\nlicense: no\n", "utf-8"
    )
    checkpoint = open_checkpoint(str(tiny_folder))
    weights = (tiny_folder / "model.safetensors").read_bytes()
    assert (checkpoint.source, checkpoint.name, checkpoint.licence) == (
        "huggingface",
        "model",
        "mit",
    )
    assert (checkpoint.bos_id, checkpoint.eos_ids, checkpoint.pad_id) == (0, (1,), 2)
    assert checkpoint.add_bos is False
    assert checkpoint.chat_template == TEMPLATE
    assert checkpoint.sha256 == hashlib.sha256(weights).hexdigest()
    assert checkpoint.tokenizer_json == (tiny_folder / "tokenizer.json").read_text("utf-8")
    assert not checkpoint.has("head")
    with pytest.raises(CheckpointError, match=r"no tensor 'head' .* ask `has` first"):
        checkpoint.weight("head")


def test_no_model_card_no_licence(tiny_folder: Path) -> None:
    assert open_checkpoint(tiny_folder).licence is None
    (tiny_folder / "README.md").write_text("# Model\nlicense: mit\n", "utf-8")
    assert open_checkpoint(tiny_folder).licence is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_come_as_float32(tiny_folder: Path, dtype: torch.dtype) -> None:
    rewrite(tiny_folder, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})
    expected = load_file(tiny_folder / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    weight = open_checkpoint(tiny_folder).weight("layers.1.down")
    assert isinstance(weight, np.ndarray)
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, expected.float().numpy())


def test_shards_are_one_model(tmp_path: Path, tiny_checkpoint: Tiny) -> None:
    folder = copy_of(tiny_checkpoint("llama"), tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    make_model("llama").save_pretrained(folder, max_shard_size="100KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    checkpoint, whole = open_checkpoint(folder), open_checkpoint(tiny_checkpoint("llama"))
    for name in ("embedding", "layers.0.q", "layers.2.norms.mlp", "final_norm"):
        np.testing.assert_array_equal(checkpoint.weight(name), whole.weight(name))
    together = hashlib.sha256(b"".join(shard.read_bytes() for shard in shards))
    assert checkpoint.sha256 == together.hexdigest()


def test_the_seed_decides_the_weights(tmp_path: Path, tiny_checkpoint: Tiny) -> None:
    names = ("layers.0.q", "layers.0.norms.mlp")
    other = open_checkpoint(make_checkpoint(tmp_path / "other", "llama", seed=1))
    again = open_checkpoint(make_checkpoint(tmp_path / "again", "llama"))
    first = open_checkpoint(tiny_checkpoint("llama"))
    for name in names:
        np.testing.assert_array_equal(first.weight(name), again.weight(name))
        with pytest.raises(AssertionError):
            np.testing.assert_array_equal(first.weight(name), other.weight(name))


def test_gains_of_gemma_have_the_one_added(tiny_checkpoint: Tiny) -> None:
    stored = load_tensors(tiny_checkpoint("gemma3"))
    checkpoint = open_checkpoint(tiny_checkpoint("gemma3"))
    for ours, theirs in (
        ("layers.1.norms.q", "model.layers.1.self_attn.q_norm.weight"),
        ("layers.1.norms.attention_out", "model.layers.1.post_attention_layernorm.weight"),
        ("layers.1.norms.mlp", "model.layers.1.pre_feedforward_layernorm.weight"),
        ("final_norm", "model.norm.weight"),
    ):
        np.testing.assert_array_equal(checkpoint.weight(ours), stored[theirs] + np.float32(1))


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_language_model_of_sighted_gemma(
    tiny_checkpoint: Tiny, tmp_path: Path, prefix: str
) -> None:
    plain = tiny_checkpoint("gemma3")
    folder = copy_of(plain, tmp_path / "sighted")
    rewrite(folder, lambda ts: {name.replace("model.", prefix, 1): t for name, t in ts.items()})
    text = json.loads((folder / "config.json").read_text("utf-8"))
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "eos_token_id": [1, 5]}
    (folder / "config.json").write_text(json.dumps(outer | {"text_config": text}), "utf-8")
    checkpoint, expected = open_checkpoint(folder), open_checkpoint(plain)
    assert checkpoint.spec == expected.spec
    assert checkpoint.eos_ids == (1, 5)
    np.testing.assert_array_equal(checkpoint.weight("layers.1.k"), expected.weight("layers.1.k"))


# ---- configurations


def test_rotary_entries_of_transformers_4(tiny_checkpoint: Tiny, tmp_path: Path) -> None:
    for family in ("llama-llama3", "llama-yarn", "llama-linear", "llama-longrope"):
        folder = copy_of(tiny_checkpoint(family), tmp_path / family)
        new = open_checkpoint(folder).spec
        rope = json.loads((folder / "config.json").read_text("utf-8"))["rope_parameters"]
        scaling = {
            key: value for key, value in rope.items() if key not in ("rope_theta", "rope_type")
        }
        scaling["type"] = rope["rope_type"]
        older = {"rope_parameters": None, "rope_theta": rope["rope_theta"], "rope_scaling": scaling}
        change(folder / "config.json", older)
        assert open_checkpoint(folder).spec == new


def test_sparse_configuration_of_gemma(tiny_checkpoint: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny_checkpoint("gemma3"), tmp_path / "gemma")
    older = {
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "rope_local_base_freq": 100.0,
        "num_key_value_heads": 2,
    }
    gone = ("rope_parameters", "layer_types", "tie_word_embeddings", "query_pre_attn_scalar")
    change(folder / "config.json", older | dict.fromkeys(gone))
    spec = open_checkpoint(folder).spec
    assert spec.rope == RopeSpec(1_000_000.0, "linear", {"factor": 8.0})
    assert spec.local_rope == RopeSpec(100.0)
    assert spec.windows == (7, 7, 7)  # the sixth layer would be the first global one
    assert spec.tied
    assert spec.attention_scale == 256**-0.5
    assert spec.embedding_scale == math.sqrt(64)


def test_windows(tiny_checkpoint: Tiny, tmp_path: Path) -> None:
    expected = {
        ("mistral", "sliding_window", 128): (),  # never shorter than the longest text
        ("mistral", "sliding_window", 100): (100, 100, 100),
        ("qwen2-window", "use_sliding_window", False): (),
        ("qwen2-window", "layer_types", None): (None, 7, 7),
        ("gemma3", "sliding_window", 128): (128, None, 128),  # local layers keep their own angles
    }
    for index, ((family, key, value), windows) in enumerate(expected.items()):
        folder = copy_of(tiny_checkpoint(family), tmp_path / str(index))
        change(folder / "config.json", {key: value})
        assert open_checkpoint(folder).spec.windows == windows


# ---- tokenizers


def test_added_bos_is_seen_in_the_tokenizer(tiny_folder: Path) -> None:
    tokenizer = train_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", 0)]
    )
    tokenizer.save(str(tiny_folder / "tokenizer.json"))
    assert open_checkpoint(tiny_folder).add_bos is False  # the explicit switch counts more
    change(tiny_folder / "tokenizer_config.json", {"add_bos_token": None})
    assert open_checkpoint(tiny_folder).add_bos is True


def test_tokens_named_by_the_tokenizer_come_first(tiny_folder: Path) -> None:
    change(tiny_folder / "config.json", {"eos_token_id": 7})
    change(tiny_folder / "generation_config.json", {"eos_token_id": [9, 7]})
    stated = {"eos_token": {"content": "<|eos|>"}, "bos_token": "<|pad|>", "pad_token": None}
    change(tiny_folder / "tokenizer_config.json", stated)
    checkpoint = open_checkpoint(tiny_folder)
    assert checkpoint.eos_ids == (1, 9, 7)
    assert (checkpoint.bos_id, checkpoint.pad_id) == (2, 2)


@pytest.mark.parametrize("beyond", [-1, 320])
def test_tokens_outside_the_embedding_are_none(tiny_folder: Path, beyond: int) -> None:
    change(tiny_folder / "tokenizer_config.json", {"pad_token": None})
    change(tiny_folder / "config.json", {"pad_token_id": beyond})
    assert open_checkpoint(tiny_folder).pad_id is None


def test_no_bos_on_purpose(tiny_folder: Path) -> None:
    content = json.loads((tiny_folder / "tokenizer_config.json").read_text("utf-8"))
    content |= {"bos_token": None, "add_bos_token": True}
    (tiny_folder / "tokenizer_config.json").write_text(json.dumps(content), "utf-8")
    checkpoint = open_checkpoint(tiny_folder)
    assert checkpoint.bos_id is None
    assert checkpoint.add_bos is False


def test_chat_templates(tiny_folder: Path) -> None:
    several = [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]
    change(tiny_folder / "tokenizer_config.json", {"chat_template": several})
    assert open_checkpoint(tiny_folder).chat_template == "D"
    change(tiny_folder / "tokenizer_config.json", {"chat_template": None})
    assert open_checkpoint(tiny_folder).chat_template is None
    change(tiny_folder / "chat_template.json", {"chat_template": "J"})
    assert open_checkpoint(tiny_folder).chat_template == "J"
    (tiny_folder / "chat_template.jinja").write_text("{{ x }}\n", "utf-8")
    assert open_checkpoint(tiny_folder).chat_template == "{{ x }}\n"


def test_vocabulary_files_go_through_transformers(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    original.model.save(str(tiny_folder))  # vocab.json, merges.txt
    (tiny_folder / "tokenizer.json").unlink()
    change(tiny_folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    rebuilt = Tokenizer.from_str(open_checkpoint(tiny_folder).tokenizer_json)
    assert capfd.readouterr() == ("", "")
    for text in CORPUS:
        assert rebuilt.encode(text).ids == original.encode(text).ids


def test_token_of_sighted_gemma_is_dropped(tiny_checkpoint: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny_checkpoint("gemma3"), tmp_path / "gemma")
    tokenizer = train_tokenizer()
    tokenizer.add_tokens([f"<unused{i}>" for i in range(320 - tokenizer.get_vocab_size())])
    tokenizer.add_special_tokens([AddedToken("<image_soft_token>", special=True)])  # id 320
    tokenizer.save(str(folder / "tokenizer.json"))
    kept = Tokenizer.from_str(open_checkpoint(folder).tokenizer_json)
    assert kept.get_vocab_size() == 320
    assert kept.token_to_id("<image_soft_token>") is None
