"""GGUF metadata → DecoderSpec, by llama.cpp's key names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint._gguf_blocks import read_tensor
from dsa_edge.exporters.checkpoint._gguf_file import GgufFile
from dsa_edge.exporters.decoder import DecoderSpec, QuantizedWeight, RopeSpec

__all__ = ["ARCHITECTURES", "gguf_spec"]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")
MAX_LAYERS = 1000
GEMMA3_PATTERN = 6  # every sixth layer of Gemma 3 is global; older files do not say so
GEMMA3_LOCAL_THETA = 10_000.0
GEMMA3_27B_LAYERS = 62  # the only size whose queries are scaled by width / heads, as in llama.cpp


def gguf_spec(file: GgufFile) -> DecoderSpec:
    """The spec of a GGUF model.

    Raises CheckpointError for an unsupported architecture or a missing or impossible entry.
    """
    keys = _Keys(file)
    gemma = keys.family == "gemma3"
    width, n_heads = keys.count("embedding_length"), keys.count("attention.head_count")
    head_dim = keys.count("attention.key_length", width // n_heads)
    n_layers = keys.count("block_count", limit=MAX_LAYERS)
    biased = {t: f"blk.0.{t}.bias" in file.tensors for t in ("attn_q", "attn_output", "ffn_up")}
    wide_queries = gemma and n_layers == GEMMA3_27B_LAYERS
    return DecoderSpec(
        family=keys.family,
        n_layers=n_layers,
        width=width,
        n_heads=n_heads,
        n_kv_heads=keys.count("attention.head_count_kv", n_heads),
        head_dim=head_dim,
        ffn_width=keys.count("feed_forward_length"),
        vocab_size=_vocabulary(file),
        max_positions=keys.count("context_length"),
        norm_eps=keys.positive("attention.layer_norm_rms_epsilon"),
        activation="gelu_tanh" if gemma else "silu",
        qkv_bias=biased["attn_q"],
        o_bias=biased["attn_output"],
        mlp_bias=biased["ffn_up"],
        qk_norm=keys.family in ("qwen3", "gemma3"),
        sandwich_norms=gemma,
        tied="output.weight" not in file.tensors,
        embedding_scale=math.sqrt(width) if gemma else 1.0,
        attention_scale=(width / n_heads) ** -0.5 if wide_queries else None,
        rope=_rope(keys, head_dim),
        local_rope=_local_rope(keys) if gemma else None,
        windows=_windows(keys, n_layers),
    )


class _Keys:
    """Typed look-ups of `{architecture}.{key}`."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.metadata: Mapping[str, Any] = file.metadata
        self.family = str(self.metadata.get("general.architecture"))
        if self.family not in ARCHITECTURES:
            self.refuse(f"holds the architecture {self.family!r}")
        if self.metadata.get(f"{self.family}.expert_count"):
            self.refuse("holds a mixture of experts")

    def refuse(self, what: str) -> NoReturn:
        """Refuse a model of another kind."""
        raise CheckpointError(
            f"{self.file.path.name} {what}, expected a dense model of one of "
            f"{', '.join(ARCHITECTURES)} (llama covers SmolLM2 and Mistral): export another model."
        )

    def get(self, key: str) -> Any:
        """A value of the architecture, None when absent."""
        return self.metadata.get(f"{self.family}.{key}")

    def count(self, key: str, default: int | None = None, limit: int = 2**31) -> int:
        """A whole number from 1 to `limit`."""
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or not 1 <= value <= limit:
            self._bad(key, value, f"a whole number from 1 to {limit}")
        return int(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            self._bad(key, value, "a number above 0")
        return float(value)

    def _bad(self, key: str, value: object, expected: str) -> NoReturn:
        raise CheckpointError(
            f"{self.file.path.name} states {self.family}.{key} as {value!r}, expected {expected}: "
            "convert the model again with a current llama.cpp."
        )


def _vocabulary(file: GgufFile) -> int:
    """Rows of the embedding: the count that the weights really have."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise CheckpointError(
            f"{file.path.name} lacks the tensor 'token_embd.weight': it is not a whole language "
            "model; give the complete file."
        )
    return embedding.shape[0]


def _rope(keys: _Keys, head_dim: int) -> RopeSpec:
    theta = keys.positive("rope.freq_base", 10_000.0)
    rotated = keys.count("rope.dimension_count", head_dim, limit=head_dim)
    if rotated % 2:
        keys.refuse(f"rotates {rotated} values of each head, an odd number")
    fraction = rotated / head_dim
    if "rope_freqs.weight" in keys.file.tensors:
        return RopeSpec(theta, "longrope", _stored_factors(keys, rotated // 2), fraction)
    kind = keys.get("rope.scaling.type") or "none"
    if kind == "none":
        return RopeSpec(theta, fraction=fraction)
    if kind not in ("linear", "yarn"):
        keys.refuse(f"scales its rotary embedding by {kind!r} without storing the factors")
    parameters: dict[str, float | list[float]] = {"factor": keys.positive("rope.scaling.factor")}
    if kind == "yarn":
        original = keys.count("rope.scaling.original_context_length", keys.count("context_length"))
        parameters["original_max_position_embeddings"] = original
        for name in ("beta_fast", "beta_slow"):
            if keys.get(f"rope.scaling.yarn_{name}") is not None:
                parameters[name] = keys.positive(f"rope.scaling.yarn_{name}")
    return RopeSpec(theta, kind, parameters, fraction)


def _stored_factors(keys: _Keys, n: int) -> dict[str, float | list[float]]:
    """Llama 3's scaling: llama.cpp stores its result, a divisor for each of n frequencies.

    Divisors are what LongRoPE's short factors are, so that kind computes them.
    """
    factors = read_tensor(keys.file, "rope_freqs.weight")
    if isinstance(factors, QuantizedWeight) or factors.shape != (n,):
        keys.refuse(f"scales its rotary embedding by {factors.shape} factors instead of {n}")
    return {
        "short_factor": factors.tolist(),
        "original_max_position_embeddings": keys.count("context_length"),
        "attention_factor": 1.0,
    }


def _local_rope(keys: _Keys) -> RopeSpec:
    return RopeSpec(keys.positive("rope.freq_base_swa", GEMMA3_LOCAL_THETA))


def _windows(keys: _Keys, n_layers: int) -> tuple[int | None, ...]:
    """Llama files with a window use it everywhere, Gemma in all but every sixth layer."""
    if keys.family not in ("llama", "gemma3") or keys.get("attention.sliding_window") is None:
        return ()
    window = keys.count("attention.sliding_window")
    if keys.family == "llama":
        return (window,) * n_layers
    pattern = keys.get("attention.sliding_window_pattern")
    if isinstance(pattern, list) and len(pattern) == n_layers:
        return tuple(window if local else None for local in pattern)
    every = keys.count("attention.sliding_window_pattern", GEMMA3_PATTERN)
    return tuple(window if (i + 1) % every else None for i in range(n_layers))
