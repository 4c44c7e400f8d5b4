"""Random models of two more geometries, made when needed: no weights are part of this project."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError

__all__ = ["medium_bundle"]

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3-medium": (
        "Qwen3",
        {
            "hidden_size": 512,
            "intermediate_size": 1536,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "vocab_size": 4096,
            "max_position_embeddings": 512,
        },
    ),
    "gemma3-wide": (
        "Gemma3Text",
        {
            "hidden_size": 320,
            "intermediate_size": 2560,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "vocab_size": 8192,
            "max_position_embeddings": 1024,
            "sliding_window": 64,
            "query_pre_attn_scalar": 128,
            "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            },
        },
    ),
}


def medium_bundle(folder: Path, name: str) -> Path:
    """The bundle of a shape in `folder`, exported unless a whole one is there."""
    path = folder / f"{name}.dsa"
    try:
        Bundle.open(path)
    except BundleError:
        _export(path, name)
    return path


def _export(path: Path, name: str) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "exporters"))
    import tiny

    from dsa_edge.exporters import export

    tiny.FAMILIES[name] = SHAPES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as checkpoint:
        export(tiny.make_checkpoint(Path(checkpoint), name), path, overwrite=True)
