"""GGUF files of tiny checkpoints, written as llama.cpp's converter would.

file = make_gguf(folder, tmp_path / "model.gguf", "Q4_1")  # llama.cpp's names and row order
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tiny import SPECIAL, TEMPLATE, load_tensors
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "lm_head": "output",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def make_gguf(
    folder: Path,
    file: Path,
    linears: str = "F32",
    table: str = "F32",
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Convert a folder of `make_checkpoint`.

    linears, table: GGUF types of the linears and of the embedding and head.
    metadata: entries that replace or join the usual ones; None takes one away.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    family = config["model_type"].removesuffix("_text")
    architecture = "llama" if family == "mistral" else family
    writer = gguf.GGUFWriter(file, architecture)
    entries = _geometry(config, architecture) | _vocabulary(folder) | (metadata or {})
    for key, value in entries.items():
        _add(writer, key, value)
    for name, tensor in load_tensors(folder).items():
        renamed = _gguf_name(name, architecture)
        values = _as_llama_cpp(name, tensor, config, architecture)
        is_table = renamed in ("token_embd.weight", "output.weight")
        kind = "F32" if values.ndim == 1 else table if is_table else linears
        type_ = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(renamed, gguf.quants.quantize(values, type_), raw_dtype=type_)
    if config["rope_parameters"].get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _rope_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _geometry(config: dict[str, Any], architecture: str) -> dict[str, Any]:
    rope = config["rope_parameters"]
    plain = rope.get("full_attention", rope)
    heads = config["num_attention_heads"]
    entries = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "attention.key_length": config.get("head_dim") or config["hidden_size"] // heads,
        "rope.freq_base": float(plain["rope_theta"]),
    }
    if plain["rope_type"] in ("linear", "yarn"):
        entries |= {"rope.scaling.type": plain["rope_type"]}
        entries |= {"rope.scaling.factor": float(plain["factor"])}
    if plain["rope_type"] == "yarn":
        entries["rope.scaling.original_context_length"] = plain["original_max_position_embeddings"]
    if config.get("sliding_window") and architecture in ("llama", "gemma3"):
        entries["attention.sliding_window"] = config["sliding_window"]
    if architecture == "gemma3":
        entries["rope.freq_base_swa"] = float(rope["sliding_attention"]["rope_theta"])
        local = [kind == "sliding_attention" for kind in config["layer_types"]]
        entries["attention.sliding_window_pattern"] = local
    return {f"{architecture}.{key}": value for key, value in entries.items()}


def _vocabulary(folder: Path) -> dict[str, Any]:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    return {
        "general.name": "Tiny",
        "general.license": "apache-2.0",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _gguf_name(name: str, architecture: str) -> str:
    stem, suffix = name.rsplit(".", 1)
    if not stem.startswith("model.layers."):
        return f"{_GGUF_NAMES[stem]}.{suffix}"
    _, _, index, part = stem.split(".", 3)
    if part == "post_attention_layernorm":
        part = "post_attention_norm" if architecture == "gemma3" else "ffn_norm"
    return f"blk.{index}.{_GGUF_NAMES.get(part, part)}.{suffix}"


def _as_llama_cpp(
    name: str, tensor: NDArray[np.float32], config: dict[str, Any], architecture: str
) -> NDArray[np.float32]:
    """Interleaved query and key rows for Llama, and 1 + gain for Gemma."""
    if architecture == "gemma3" and "norm" in name:
        return tensor + np.float32(1)
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    part = next((part for part in heads if f"{part}." in name), None)
    if architecture != "llama" or part is None:
        return tensor
    n = config[heads[part]]
    halves = tensor.reshape(n, 2, tensor.shape[0] // n // 2, *tensor.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(tensor.shape)


def _rope_divisors(config: dict[str, Any]) -> NDArray[np.float32]:
    """What llama.cpp's converter stores for Llama 3: default frequency / scaled frequency."""
    scaled = ROPE_INIT_FUNCTIONS["llama3"](transformers.LlamaConfig(**config))[0]
    n = len(scaled)
    base = config["rope_parameters"]["rope_theta"] ** (-torch.arange(n, dtype=torch.float64) / n)
    return (base / scaled).float().numpy()
