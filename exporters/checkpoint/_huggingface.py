"""A Hugging Face folder as a checkpoint: config.json, safetensors, tokenizer files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint._base import Checkpoint
from dsa_edge.exporters.checkpoint._canonical import Shape, translate
from dsa_edge.exporters.checkpoint._huggingface_config import huggingface_spec, text_config
from dsa_edge.exporters.checkpoint._json import read_json, reason
from dsa_edge.exporters.checkpoint._tokenizer import huggingface_rules, huggingface_tokenizer
from dsa_edge.kinds import MODULES

__all__ = ["HuggingFaceCheckpoint"]

INDEX = "model.safetensors.index.json"
# Where the language model lies: plain, and the two layouts of sighted Gemma 3.
PREFIXES = ("model.", "language_model.model.", "model.language_model.")

_PARTS = {
    **MODULES,
    "norms.attention": "input_layernorm",
    "norms.mlp": "post_attention_layernorm",
    "norms.q": "self_attn.q_norm",
    "norms.k": "self_attn.k_norm",
}
# Gemma's norm after attention has the name that others give to the norm before the feed-forward.
_GEMMA_PARTS = _PARTS | {
    "norms.attention_out": "post_attention_layernorm",
    "norms.mlp": "pre_feedforward_layernorm",
    "norms.mlp_out": "post_feedforward_layernorm",
}


class HuggingFaceCheckpoint(Checkpoint):
    """One folder with config.json, one or more safetensors files and a tokenizer."""

    source = "huggingface"

    def __init__(self, folder: Path, config: Mapping[str, Any], tensors: _Tensors) -> None:
        self._tensors = tensors
        prefixes = [p for p in PREFIXES if tensors.shape(f"{p}embed_tokens.weight") is not None]
        self._prefix = prefixes[0] if prefixes else PREFIXES[0]
        file = folder / "config.json"
        spec = huggingface_spec(file, text_config(file, config))
        self._parts = _GEMMA_PARTS if spec.family == "gemma3" else _PARTS
        self._tokenizer_json = huggingface_tokenizer(folder, spec.vocab_size)
        rules = huggingface_rules(folder, config, self._tokenizer_json, spec.vocab_size)
        super().__init__(
            folder, tensors.files, spec, rules, folder.resolve().name, _licence(folder)
        )

    @classmethod
    def open(cls, folder: Path) -> HuggingFaceCheckpoint:
        """Read the JSON files and the headers of the weights."""
        if not (folder / "config.json").exists():
            raise CheckpointError(_no_config(folder))
        config = read_json(folder / "config.json")
        return cls(folder, config, _Tensors(folder, _weight_files(folder)))

    @property
    def tokenizer_json(self) -> str:
        """The tokenizer in the format of the `tokenizers` library: the folder's own file."""
        return self._tokenizer_json

    def _native(self, name: str) -> str:
        outer = "language_model." if self._prefix == "language_model.model." else ""
        whole = {
            "embedding": f"{self._prefix}embed_tokens.weight",
            "head": f"{outer}lm_head.weight",
            "final_norm": f"{self._prefix}norm.weight",
        }
        return translate(name, whole, f"{self._prefix}layers.{{}}.", self._parts)

    def _stored_shape(self, native: str) -> Shape | None:
        return self._tensors.shape(native)

    def _read(self, name: str) -> NDArray[np.float32]:
        values = self._tensors.read(self._native(name))
        if self.spec.family == "gemma3" and "norm" in name:
            return values + np.float32(1)  # Gemma stores gain − 1
        return values


class _Tensors:
    """The tensors of several safetensors files by name, read one at a time."""

    def __init__(self, folder: Path, files: tuple[Path, ...]) -> None:
        self.folder, self.files = folder, files
        self._handles: dict[str, Any] = {}
        for file in files:
            try:
                # torch's framework, because numpy has no bfloat16
                handle = safe_open(file, "pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{file} is not a whole safetensors file ({reason(error)}): download it again."
                ) from error
            self._handles.update(dict.fromkeys(handle.keys(), handle))

    def shape(self, name: str) -> Shape | None:
        """Shape as the header declares it, None when no file has the tensor."""
        handle = self._handles.get(name)
        return None if handle is None else tuple(handle.get_slice(name).get_shape())

    def read(self, name: str) -> NDArray[np.float32]:
        """Values in float32; refuses integers, which only packed formats have."""
        tensor = self._handles[name].get_tensor(name)
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise CheckpointError(
                f"{self.folder.name}: tensor {name!r} is stored as {tensor.dtype}, expected "
                "float32, bfloat16 or float16: export the unquantized checkpoint."
            )
        return tensor.float().numpy()


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold the model, in order of their names."""
    if not (folder / INDEX).exists():
        files = tuple(sorted(folder.glob("*.safetensors")))
        if not files:
            raise CheckpointError(_no_safetensors(folder))
        return files
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
        raise CheckpointError(
            f"{folder / INDEX} has no weight_map from tensors to files: download it again."
        )
    names = sorted(set(shards.values()))
    missing = [name for name in names if not (folder / Path(name).name).exists()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {missing[0]}, one of the {len(names)} files that {INDEX} names: "
            "download the checkpoint again, in full."
        )
    return tuple(folder / Path(name).name for name in names)


def _no_config(folder: Path) -> str:
    inside = sorted(folder.glob("*.gguf"))
    if inside:
        return f"{folder} has no config.json, but holds {inside[0].name}: give that file instead."
    return (
        f"{folder} has no config.json: give the folder of a Hugging Face model (config.json and "
        "*.safetensors) or a .gguf file."
    )


def _no_safetensors(folder: Path) -> str:
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    found = f"only {pickled[0].name}" if pickled else "no weights"
    return (
        f"{folder} holds {found}, expected *.safetensors: load the model with transformers and "
        "call `save_pretrained`, which writes safetensors."
    )


def _licence(folder: Path) -> str | None:
    """The `license:` entry of the model card's front matter."""
    try:
        card = (folder / "README.md").read_text("utf-8", "replace")
    except OSError:
        return None
    front = re.match(r"---\s*\n(.*?\n)---", card, re.DOTALL)
    stated = re.search(r"^license:[ \t]*[\"']?([^\s\"'#]+)", front[1] if front else "", re.M)
    return stated[1] if stated else None
