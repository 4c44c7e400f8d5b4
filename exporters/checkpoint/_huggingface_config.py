"""`config.json` → DecoderSpec, for files written by transformers 4 and 5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.decoder import DecoderSpec, RopeSpec

__all__ = ["ARCHITECTURES", "huggingface_spec", "text_config"]

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3ForConditionalGeneration": "gemma3",
}
MAX_LAYERS = 1000
LARGEST = 1e30  # of any number; JSON knows no limit, float32 does

# What a family's configuration class assumes where config.json is silent. Published Gemma 3 files
# lean on this heavily; the others write nearly everything.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4096},
    "qwen2": {},
    "qwen3": {"head_dim": 128},
    "gemma3": {
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "rope_theta": 1_000_000.0,
    },
}
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
# Dynamic scaling starts beyond `max_position_embeddings`, where no prompt on a device gets.
_ROPE_KINDS = {"su": "longrope", "dynamic": "default"}
# Scaling variant → the numbers it needs, and those it may have.
_ROPE_NUMBERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "linear": (("factor",), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), ()),
    "yarn": (
        (),
        ("factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
    ),
    "longrope": ((), ("factor", "attention_factor")),
}


def huggingface_spec(file: Path, config: Mapping[str, Any]) -> DecoderSpec:
    """The spec of a model from its (text) configuration.

    file: where it was read, for messages.
    Raises CheckpointError for an unsupported architecture or a missing or impossible entry.
    """
    keys = _Keys(file, config)
    family, gemma = keys.family, keys.family == "gemma3"
    width, n_heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    head_dim = keys.count("head_dim", width // n_heads)
    biased = bool(keys.get("attention_bias")) and family not in ("mistral", "qwen2")
    softcap = keys.get("final_logit_softcapping") if gemma else None
    return DecoderSpec(
        family=family,
        n_layers=keys.count("num_hidden_layers", limit=MAX_LAYERS),
        width=width,
        n_heads=n_heads,
        n_kv_heads=keys.count("num_key_value_heads", n_heads),
        head_dim=head_dim,
        ffn_width=keys.count("intermediate_size"),
        vocab_size=keys.count("vocab_size"),
        max_positions=keys.count("max_position_embeddings", 2048),
        norm_eps=keys.positive("rms_norm_eps", 1e-6),
        activation=_activation(keys),
        qkv_bias=biased or family == "qwen2",
        o_bias=biased,
        mlp_bias=family == "llama" and bool(keys.get("mlp_bias")),
        qk_norm=family in ("qwen3", "gemma3"),
        sandwich_norms=gemma,
        tied=bool(keys.get("tie_word_embeddings")),
        embedding_scale=math.sqrt(width) if gemma else 1.0,
        logit_softcap=None if softcap is None else keys.positive("final_logit_softcapping"),
        attention_scale=keys.positive("query_pre_attn_scalar") ** -0.5 if gemma else None,
        rope=_rope(keys, "full_attention", head_dim),
        local_rope=_rope(keys, "sliding_attention", head_dim) if gemma else None,
        windows=_windows(keys),
    )


def text_config(file: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of `config.json` that describes the language model, with its architecture.

    Raises CheckpointError for a quantized folder: its tensors are packed by other rules.
    """
    if config.get("quantization_config"):
        method = config["quantization_config"]
        name = method.get("quant_method") if isinstance(method, Mapping) else method
        raise CheckpointError(
            f"{file} states the quantization {name!r}, expected plain weights (float32, bfloat16, "
            "float16): export the original checkpoint, or a Q4_1 or Q8_0 GGUF file of it."
        )
    nested = config.get("text_config")
    if not isinstance(nested, Mapping):
        return config
    return {**nested, "architectures": config.get("architectures")}


class _Keys:
    """Typed look-ups, with the family's defaults."""

    def __init__(self, file: Path, config: Mapping[str, Any]) -> None:
        self.file = file
        names = config.get("architectures")
        name = names[0] if isinstance(names, list) and names else None
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise CheckpointError(
                f"{file} holds the architecture {name!r}, expected one of "
                f"{', '.join(ARCHITECTURES)}: export another model."
            )
        self.family = ARCHITECTURES[name]
        self.config: Mapping[str, Any] = {**_DEFAULTS[self.family], **config}
        if self.get("use_bidirectional_attention"):
            self.bad("use_bidirectional_attention", True, "a causal model")

    def get(self, key: str) -> Any:
        """A value, None when absent."""
        return self.config.get(key)

    def table(self, key: str) -> Mapping[str, Any]:
        """An entry that is itself an object; absent is empty."""
        return self.mapping(key, self.get(key) or {})

    def mapping(self, key: str, value: object) -> Mapping[str, Any]:
        """Check an object that was looked up elsewhere."""
        if not isinstance(value, Mapping):
            self.bad(key, value, "a JSON object")
        return value

    def count(self, key: str, default: int | None = None, limit: int = 2**31) -> int:
        """A whole number from 1 to `limit`."""
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or not 1 <= value <= limit:
            self.bad(key, value, f"a whole number from 1 to {limit}")
        return int(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self.get(key)
        return self.number(key, default if value is None else value)

    def number(self, key: str, value: object) -> float:
        """Check a number above 0 that was looked up elsewhere."""
        if not isinstance(value, (int, float)) or not 0 < value < LARGEST:
            self.bad(key, value, f"a number above 0 and below {LARGEST}")
        return float(value)

    def bad(self, key: str, value: object, expected: str) -> NoReturn:
        """Refuse an entry."""
        raise CheckpointError(
            f"{self.file} states {key} as {value!r}, expected {expected}: use the configuration "
            "that was published with the model."
        )


def _activation(keys: _Keys) -> str:
    name = keys.get("hidden_activation" if keys.family == "gemma3" else "hidden_act") or "silu"
    return _ACTIVATIONS.get(str(name), str(name))  # the spec refuses what it does not know


def _windows(keys: _Keys) -> tuple[int | None, ...]:
    """Sliding windows by layer: everywhere (Mistral), by pattern (Gemma 3), on request (Qwen)."""
    n_layers, family = keys.count("num_hidden_layers", limit=MAX_LAYERS), keys.family
    qwen = family in ("qwen2", "qwen3")
    if keys.get("sliding_window") is None or family == "llama":
        return ()
    if qwen and not keys.get("use_sliding_window"):
        return ()
    window = keys.count("sliding_window")
    if family == "mistral":
        return (window,) * n_layers if window < keys.count("max_position_embeddings") else ()
    types = keys.get("layer_types") or _layer_types(keys, n_layers)
    known = {"sliding_attention": window, "full_attention": None}
    fits = isinstance(types, list) and len(types) == n_layers
    if not fits or not all(isinstance(kind, str) and kind in known for kind in types):
        keys.bad("layer_types", types, f"{n_layers} times one of {', '.join(known)}")
    return tuple(known[kind] for kind in types)


def _layer_types(keys: _Keys, n_layers: int) -> list[str]:
    """What older files leave to the model's code."""
    if keys.family == "gemma3":
        every = keys.count("sliding_window_pattern", 6)
        local = [(i + 1) % every != 0 for i in range(n_layers)]
    else:
        stated = keys.get("max_window_layers")
        first = 0 if stated == 0 else keys.count("max_window_layers", 28)
        local = [i >= first for i in range(n_layers)]
    return ["sliding_attention" if is_local else "full_attention" for is_local in local]


def _rope(keys: _Keys, layer_type: str, head_dim: int) -> RopeSpec:
    """The rotary embedding of one type of layer: `rope_parameters`, or the older three entries."""
    stated = keys.table("rope_parameters")
    if layer_type in stated:
        stated = keys.mapping(f"rope_parameters.{layer_type}", stated[layer_type])
    elif not stated and layer_type == "full_attention":
        stated = keys.table("rope_scaling")
    local = keys.family == "gemma3" and layer_type == "sliding_attention"
    older = keys.get("rope_local_base_freq" if local else "rope_theta")
    theta = keys.number("rope_theta", stated.get("rope_theta") or older or 10_000.0)
    share = stated.get("partial_rotary_factor") or keys.get("partial_rotary_factor") or 1.0
    rotated = int(head_dim * keys.number("partial_rotary_factor", share))
    if rotated % 2 or not 0 < rotated <= head_dim:
        keys.bad("partial_rotary_factor", share, f"an even part of {head_dim} values")
    kind = str(stated.get("rope_type") or stated.get("type") or "default")
    kind = _ROPE_KINDS.get(kind, kind)
    known = kind in _ROPE_NUMBERS  # the spec refuses what it does not know
    parameters = _scaling(keys, kind, stated, rotated // 2) if known else {}
    return RopeSpec(theta, kind, parameters, rotated / head_dim)


def _scaling(
    keys: _Keys, kind: str, stated: Mapping[str, Any], n_frequencies: int
) -> dict[str, float | list[float]]:
    """A scaling variant's own numbers; an optional one of None or 0 has its default."""
    required, optional = _ROPE_NUMBERS[kind]
    names = [*required, *(name for name in optional if stated.get(name))]
    numbers: dict[str, float | list[float]] = {
        name: keys.number(f"{kind} rotary scaling's {name}", stated.get(name)) for name in names
    }
    if kind == "linear":
        return numbers
    longest = keys.count("max_position_embeddings", 2048)
    # A number next to the rotary entries counts more than one among them, as in transformers.
    name = "original_max_position_embeddings"
    original = keys.number(name, keys.get(name) or stated.get(name) or longest)
    numbers[name] = original
    if kind in ("yarn", "longrope"):
        numbers.setdefault("factor", longest / original)
    if kind == "yarn" and stated.get("truncate") is False:
        numbers["truncate"] = False
    if kind == "longrope":
        numbers["short_factor"] = _short_factors(keys, stated.get("short_factor"), n_frequencies)
    return numbers


def _short_factors(keys: _Keys, factors: object, n: int) -> list[float]:
    if not isinstance(factors, list) or len(factors) != n:
        keys.bad("short_factor", factors, f"{n} numbers")
    return [keys.number("short_factor", factor) for factor in factors]
