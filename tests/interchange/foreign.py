"""Tensors of a LoRA in the words of other libraries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Q = "base_model.model.model.layers.1.self_attn.q_proj"


def pair(rank: int = 2, n_in: int = 64, n_out: int = 64) -> tuple[Floats, Floats]:
    """A (r, n_in) and B (n_out, r)."""
    random = np.random.default_rng(rank)
    a = random.standard_normal((rank, n_in)).astype(np.float32)
    return a, random.standard_normal((n_out, rank)).astype(np.float32)


def tensors(stem: str = Q, rank: int = 2) -> dict[str, Floats]:
    """A LoRA of one linear (64, 64) under PEFT's names."""
    a, b = pair(rank)
    return {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
