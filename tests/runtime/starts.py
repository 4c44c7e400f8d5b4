"""Bundles with a learned start, without a meta-training and an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dsa_edge.adapter import save_adapter
from dsa_edge.bundle import hash_file
from dsa_edge.manifest import FileEntry, Manifest, StartInfo
from dsa_edge.start import DIRECTIONS, Start, save_directions

SIZE = 0.05  # of a start's numbers, and of its directions'


def put_start(bundle: Path, count: int = 6, seed: int = 0) -> Start:
    """Put a random start of so many directions into a bundle."""
    manifest = Manifest.read(bundle / "manifest.json")
    random, size = np.random.default_rng(seed), manifest.adapter_size
    start = Start(
        (SIZE * random.standard_normal(size)).astype(np.float32),
        (SIZE * random.standard_normal((count, size))).astype(np.float16),
        manifest.identity, manifest.adapter, manifest.base.sha256, 5,
    )  # fmt: skip
    save_adapter(bundle / "adapter.safetensors", start.adapter, manifest.identity, manifest.adapter)
    save_directions(bundle / DIRECTIONS, start.directions)
    for name in ("adapter.safetensors", DIRECTIONS):
        file = bundle / name
        manifest.files[name] = FileEntry(hash_file(file), file.stat().st_size)
    replace(manifest, start=StartInfo(start.id, count, 5)).write(bundle / "manifest.json")
    return start
