"""Bundles of adapters that other libraries know, and files as these libraries write them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # for `from foreign import …`

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.bundle import Bundle

Exported = Callable[..., Bundle]


@pytest.fixture(scope="session")
def exported(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """`exported(kind, family)`: a tiny model with a small adapter, exported once a session."""
    from dsa_edge.exporters import export

    made: dict[tuple[str, str], Bundle] = {}

    def bundle(kind: str = "lora", family: str = "llama") -> Bundle:
        if (kind, family) not in made:
            path = tmp_path_factory.mktemp("interchange") / f"{kind}.dsa"
            spec = AdapterSpec(kind, rank=4, split=0.34)
            export(tiny_checkpoint(family), path, adapter=spec, accuracy_level=0, check=False)
            made[kind, family] = Bundle.open(path)
        return made[kind, family]

    return bundle


@pytest.fixture
def lora(exported: Exported) -> Bundle:
    """A bundle of kind lora: rank 4 in all linears of layers 1 and 2."""
    return exported("lora")


@pytest.fixture
def learned() -> Callable[[Bundle], Adapter]:
    """An adapter of a bundle with random numbers, as after learning."""

    def make(bundle: Bundle) -> Adapter:
        size = bundle.manifest.adapter_size
        noise = np.random.default_rng(5).standard_normal(size) / 8
        return Adapter(noise.astype(np.float32))

    return make


@pytest.fixture
def peft_folder(tmp_path: Path) -> Callable[..., Path]:
    """`peft_folder(tensors, config)`: a folder as PEFT writes it."""
    from safetensors.numpy import save_file

    def write(tensors: dict[str, NDArray[Any]], config: dict[str, Any] | None = None) -> Path:
        folder = tmp_path / "theirs"
        folder.mkdir(exist_ok=True)
        stated = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "bias": "none", **(config or {})}
        (folder / "adapter_config.json").write_text(json.dumps(stated))
        save_file(tensors, folder / "adapter_model.safetensors")
        return folder

    return write
