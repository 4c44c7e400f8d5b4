"""A merged model as a Hugging Face folder: config.json, model.safetensors, tokenizer files.

`dsa-edge export` and transformers read it. The base's weights are those of the bundle, so what its
quantization lost stays lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.adapter import write_atomic
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.kinds import MODULES
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.runtime.interchange._base import Base
from dsa_edge.runtime.interchange._deltas import Delta
from dsa_edge.runtime.interchange._names import module_name

__all__ = ["config_of", "write_checkpoint"]

Floats = NDArray[np.float32]

_CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
_CLASSES["gemma3"] = "Gemma3"
_NORMS = {
    "norms.attention": "input_layernorm",
    "norms.mlp": "post_attention_layernorm",
    "norms.q": "self_attn.q_norm",
    "norms.k": "self_attn.k_norm",
}
_GEMMA_NORMS = {
    **_NORMS,
    "norms.attention_out": "post_attention_layernorm",
    "norms.mlp": "pre_feedforward_layernorm",
    "norms.mlp_out": "post_feedforward_layernorm",
}
_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def write_checkpoint(bundle: Bundle, base: Base, found: list[Delta], folder: Path) -> int:
    """Write the base with what was learned added to it; returns the bytes of its weights."""
    from safetensors.numpy import save_file

    config = config_of(bundle.manifest.decoder, bundle.manifest.tokenizer)
    changes = {(delta.layer, delta.target): delta for delta in found}
    tensors = _tensors(bundle.manifest.decoder, base, changes)
    partial = folder / ".model.partial"
    save_file(tensors, partial, {"format": "pt"})
    partial.replace(folder / "model.safetensors")
    _write_tokenizer(bundle, folder)
    write_atomic(folder / "config.json", json.dumps(config, indent=2).encode())  # last: it is whole
    return (folder / "model.safetensors").stat().st_size


def _tensors(
    decoder: dict[str, Any], base: Base, changes: dict[tuple[int, str], Delta]
) -> dict[str, Floats]:
    """Every tensor under its name in Hugging Face's models."""
    gemma = decoder["family"] == "gemma3"
    less = np.float32(gemma)  # Gemma stores gain − 1
    made = {
        "model.embed_tokens.weight": base.dense("embedding"),
        "model.norm.weight": base.dense("final_norm") - less,
    }
    if not decoder["tied"]:
        made["lm_head.weight"] = base.dense("head")
    for layer in range(decoder["n_layers"]):
        for target in MODULES:
            name, native = f"layers.{layer}.{target}", module_name(layer, target)
            change = changes.get((layer, target))
            made[f"{native}.weight"] = base.dense(name) + (change.dense if change else 0)
            if base.has(f"{name}.bias"):
                made[f"{native}.bias"] = base.dense(f"{name}.bias")
        for part, native in (_GEMMA_NORMS if gemma else _NORMS).items():
            if base.has(f"layers.{layer}.{part}"):
                gain = base.dense(f"layers.{layer}.{part}") - less
                made[f"model.layers.{layer}.{native}.weight"] = gain
    return made


def config_of(decoder: dict[str, Any], tokens: TokenizerInfo) -> dict[str, Any]:
    """`config.json` of a decoder. Raises AdapterError for a family without a class there."""
    family = str(decoder["family"])
    if family not in _CLASSES:
        raise AdapterError(
            f"no Hugging Face model is known for {family!r}, expected one of "
            f"{', '.join(_CLASSES)}: keep the adapter beside the base."
        )
    gemma = family == "gemma3"
    return {
        "architectures": [f"{_CLASSES[family]}ForCausalLM"],
        "model_type": "gemma3_text" if gemma else family,
        "hidden_size": decoder["width"],
        "intermediate_size": decoder["ffn_width"],
        "num_hidden_layers": decoder["n_layers"],
        "num_attention_heads": decoder["n_heads"],
        "num_key_value_heads": decoder["n_kv_heads"],
        "head_dim": decoder["head_dim"],
        "vocab_size": decoder["vocab_size"],
        "max_position_embeddings": decoder["max_positions"],
        "rms_norm_eps": decoder["norm_eps"],
        "hidden_activation" if gemma else "hidden_act": _ACTIVATIONS[decoder["activation"]],
        "attention_bias": bool(decoder["o_bias"]),
        "mlp_bias": bool(decoder["mlp_bias"]),
        "tie_word_embeddings": bool(decoder["tied"]),
        "bos_token_id": tokens.bos_id,
        "eos_token_id": list(tokens.eos_ids),
        "pad_token_id": tokens.pad_id,
        "torch_dtype": "float32",
        **_rotary(decoder, gemma),
        **_windows(decoder, family),
        **(_gemma(decoder) if gemma else {}),
    }


def _rotary(decoder: dict[str, Any], gemma: bool) -> dict[str, Any]:
    """`rope_parameters` of transformers 5, and the entries of transformers 4."""
    common, local = _rope(decoder["rope"]), decoder["local_rope"]
    if gemma:
        both = {"full_attention": common, "sliding_attention": _rope(local or decoder["rope"])}
        return {"rope_parameters": both, "rope_theta": common["rope_theta"]}
    scaled = common if common["rope_type"] != "default" else None
    return {
        "rope_parameters": common, "rope_theta": common["rope_theta"], "rope_scaling": scaled,
    }  # fmt: skip


def _rope(rope: dict[str, Any]) -> dict[str, Any]:
    made = {"rope_type": rope["kind"], "rope_theta": rope["theta"], **rope["parameters"]}
    if rope["kind"] == "longrope":  # beyond the first window, where no prompt on a device gets
        made.setdefault("long_factor", made["short_factor"])
    if rope["fraction"] != 1:
        made["partial_rotary_factor"] = rope["fraction"]
    return made


def _windows(decoder: dict[str, Any], family: str) -> dict[str, Any]:
    windows = decoder["windows"]
    width = next((w for w in windows if w is not None), None)
    if family == "llama":
        return {}
    if family == "mistral":
        return {"sliding_window": width}
    kinds = ["full_attention" if w is None else "sliding_attention" for w in windows]
    return {
        "sliding_window": width,
        "use_sliding_window": width is not None,
        **({"layer_types": kinds} if kinds else {}),
    }


def _gemma(decoder: dict[str, Any]) -> dict[str, Any]:
    scale = decoder["attention_scale"]
    return {
        "query_pre_attn_scalar": decoder["head_dim"] if scale is None else round(scale**-2),
        "final_logit_softcapping": decoder["logit_softcap"],
    }


def _write_tokenizer(bundle: Bundle, folder: Path) -> None:
    """The bundle's tokenizer, with the special tokens by name."""
    text = bundle.read_text("tokenizer.json") or "{}"
    write_atomic(folder / "tokenizer.json", text.encode())
    info, names = bundle.manifest.tokenizer, {}
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    eos = info.eos_ids[0] if info.eos_ids else None
    for name, token in (("bos", info.bos_id), ("eos", eos), ("pad", info.pad_id)):
        names[f"{name}_token"] = None if token is None else tokenizer.id_to_token(token)
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": info.add_bos, **names}
    template = bundle.read_text("chat_template.jinja")
    if template is not None:
        stated["chat_template"] = template
    write_atomic(folder / "tokenizer_config.json", json.dumps(stated).encode())
