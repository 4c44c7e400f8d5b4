"""How much fits: rows and tokens a run of the engine may hold, and bytes of prompt cache."""

from __future__ import annotations

from dataclasses import dataclass

from dsa_edge.errors import BudgetError, UsageError
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._memory import resident_mb

__all__ = ["Budget", "Chunks", "plan_chunks"]

MB = 2**20
DEFAULT_ACTIVATIONS = 48 * MB  # more rows a run do not make a step faster (docs/decisions.md)
DEFAULT_CACHE = 48 * MB  # prompt caches beyond it go to a file


@dataclass(frozen=True)
class Budget:
    """Bounds on one `fit`; None leaves a bound to the defaults.

    seconds: wall-clock time; steps: zeroth-order steps; memory_mb: peak memory of the process.
    """

    seconds: float | None = None
    steps: int | None = None
    memory_mb: float | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that allow nothing."""
        for name, value in vars(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"budget {name} is {value}, expected a number more than 0.")


@dataclass(frozen=True)
class Chunks:
    """prefill_tokens: prompt and response tokens a prefill; probe_rows: response rows a probe;
    cache_bytes: prompt cache that stays in memory."""

    prefill_tokens: int
    probe_rows: int
    cache_bytes: int


def plan_chunks(manifest: Manifest, memory_mb: float | None, full_head: bool) -> Chunks:
    """Split the memory left over between activations and the prompt cache.

    full_head: probes compute logits over the whole vocabulary.
    Raises BudgetError when not even one row fits.
    """
    if memory_mb is None:
        return _chunks(manifest, DEFAULT_ACTIVATIONS, DEFAULT_CACHE, full_head)
    needed = resident_mb() + session_mb(manifest)
    spare = (memory_mb - needed) * MB
    chunks = _chunks(manifest, int(spare * 0.6), int(spare * 0.2), full_head)
    if spare <= 0 or chunks.probe_rows < 2 or chunks.prefill_tokens < 64:
        raise BudgetError(
            f"memory_mb is {memory_mb:.0f}, but this model needs about {needed + 8:.0f} MB before "
            "it can learn: raise memory_mb or export a smaller model."
        )
    return chunks


def session_mb(manifest: Manifest) -> float:
    """Memory of the largest method: weights as mapped, and again as packed for the kernels."""
    data = sum(e.bytes for name, e in manifest.files.items() if name.endswith("_data"))
    return 2.2 * data / MB


def _chunks(manifest: Manifest, activations: int, cache: int, full_head: bool) -> Chunks:
    row = _row_bytes(manifest)
    probe = row + (3 * 4 * int(manifest.decoder["vocab_size"]) if full_head else 0)
    # A prefill also returns the keys and values of all its layers, in float32 and float16.
    decoder = manifest.decoder
    caches = 6 * 2 * manifest.n_layers * int(decoder["n_kv_heads"]) * int(decoder["head_dim"])
    return Chunks(
        prefill_tokens=max(0, activations // (row + caches)),
        probe_rows=max(0, activations // probe),
        cache_bytes=max(0, cache),
    )


def _row_bytes(manifest: Manifest) -> int:
    """Float32 bytes that one row keeps alive at the widest point of a layer."""
    d = manifest.decoder
    heads = (int(d["n_heads"]) + 2 * int(d["n_kv_heads"])) * int(d["head_dim"])
    scores = 2 * int(d["n_heads"]) * 64  # 64 keys: longer prompts are few
    return 4 * (4 * int(d["ffn_width"]) + 4 * int(d["width"]) + 2 * heads + scores)
