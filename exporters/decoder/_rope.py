"""Rotary embedding: inverse frequencies of every scaling variant, and the rotation itself.

Formulas: RoFormer (2104.09864); linear interpolation (2306.15595); YaRN (2309.00071);
LongRoPE (2402.13753); Llama 3's piecewise scaling as in its released code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dsa_edge.exporters.decoder._spec import RopeSpec

__all__ = ["inverse_frequencies", "rotate"]


def inverse_frequencies(rope: RopeSpec, head_dim: int) -> tuple[Tensor, float]:
    """Angles a position (rotated / 2,) float32, and the factor on cosine and sine."""
    rotated = round(head_dim * rope.fraction)
    base = 1.0 / rope.theta ** (torch.arange(0, rotated, 2, dtype=torch.float32) / rotated)
    if rope.kind == "linear":
        return base / _number(rope, "factor"), 1.0
    if rope.kind == "llama3":
        return _llama3(rope, base), 1.0
    if rope.kind == "yarn":
        return _yarn(rope, base, rotated)
    if rope.kind == "longrope":
        return _longrope(rope, base)
    return base, 1.0


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first cos.shape[-1] entries of each head: x (L, B, T, heads, head_dim)."""
    rotated = cos.shape[-1]
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)  # (B, T, 1, rotated)
    head, rest = x[..., :rotated], x[..., rotated:]
    first, second = head.chunk(2, -1)
    turned = head * cos + torch.cat([-second, first], -1) * sin
    return turned if rotated == x.shape[-1] else torch.cat([turned, rest], -1)


def _number(rope: RopeSpec, name: str, default: float | None = None) -> float:
    value = rope.parameters.get(name, default)
    if not isinstance(value, (int, float)):
        raise KeyError(f"rotary scaling {rope.kind!r} needs the number {name!r}")
    return float(value)


def _llama3(rope: RopeSpec, base: Tensor) -> Tensor:
    factor = _number(rope, "factor")
    low, high = _number(rope, "low_freq_factor"), _number(rope, "high_freq_factor")
    original = _number(rope, "original_max_position_embeddings")
    turns = original * base / (2 * math.pi)  # full turns over the original context
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * base / factor + smooth * base


def _yarn(rope: RopeSpec, base: Tensor, rotated: int) -> tuple[Tensor, float]:
    factor = _number(rope, "factor")
    original = _number(rope, "original_max_position_embeddings")

    def dimension(turns: float) -> float:
        return rotated * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(_number(rope, "beta_fast", 32)), dimension(_number(rope, "beta_slow", 1))
    if rope.parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    ramp = (torch.arange(rotated // 2, dtype=torch.float32) - low) / max(high - low, 1e-3)
    keep = 1 - ramp.clamp(0, 1)
    frequencies = base / factor * (1 - keep) + base * keep
    return frequencies, _yarn_attention(rope, factor)


def _yarn_attention(rope: RopeSpec, factor: float) -> float:
    if "attention_factor" in rope.parameters:
        return _number(rope, "attention_factor")

    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if "mscale" in rope.parameters and "mscale_all_dim" in rope.parameters:
        return mscale(_number(rope, "mscale")) / mscale(_number(rope, "mscale_all_dim"))
    return mscale(1.0)


def _longrope(rope: RopeSpec, base: Tensor) -> tuple[Tensor, float]:
    # Prompts on a device stay within the original context, where the short factors hold.
    short = rope.parameters["short_factor"]
    factor = _number(rope, "factor", 1.0)
    original = _number(rope, "original_max_position_embeddings")
    attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return base / torch.tensor(short), _number(rope, "attention_factor", attention)
