"""A LoRA in llama.cpp's own format: random numbers, for what is timed does not depend on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsa_edge.bundle import Bundle

__all__ = ["write_lora"]

RANK, ALPHA = 8, 16.0


def write_lora(bundle: Path, path: Path) -> Path:
    """Rank 8 on q and v of all layers of a bundle's base; written once."""
    if path.is_file():
        return path
    from gguf import GGUFWriter

    d = Bundle.open(bundle, check_hashes=False).manifest.decoder
    width, head = int(d["width"]), int(d["head_dim"])
    rows = {"q": int(d["n_heads"]) * head, "v": int(d["n_kv_heads"]) * head}
    random = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for layer in range(int(d["n_layers"])):
        for target, n_out in rows.items():
            name = f"blk.{layer}.attn_{target}.weight.lora_"
            for end, shape in (("a", (RANK, width)), ("b", (n_out, RANK))):
                writer.add_tensor(name + end, 0.01 * random.standard_normal(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
