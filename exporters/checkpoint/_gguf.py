"""A GGUF file as a checkpoint: llama.cpp's tensor names and row order, undone."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint._base import Checkpoint
from dsa_edge.exporters.checkpoint._canonical import Shape, translate
from dsa_edge.exporters.checkpoint._gguf_blocks import read_tensor
from dsa_edge.exporters.checkpoint._gguf_config import gguf_spec
from dsa_edge.exporters.checkpoint._gguf_file import GgufFile
from dsa_edge.exporters.checkpoint._gguf_tokenizer import gguf_rules, gguf_tokenizer
from dsa_edge.exporters.decoder import QuantizedWeight

__all__ = ["GgufCheckpoint"]

_WHOLE = {
    "embedding": "token_embd.weight",
    "head": "output.weight",
    "final_norm": "output_norm.weight",
}
_PARTS = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "norms.attention": "attn_norm",
    "norms.mlp": "ffn_norm",
    "norms.q": "attn_q_norm",
    "norms.k": "attn_k_norm",
    "norms.attention_out": "post_attention_norm",
    "norms.mlp_out": "post_ffw_norm",
}


class GgufCheckpoint(Checkpoint):
    """One GGUF file.

    Gains of Gemma are read as they are: llama.cpp's converter has already added the 1.
    """

    source = "gguf"

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        spec = gguf_spec(file)
        name, licence = (file.metadata.get(f"general.{key}") for key in ("name", "license"))
        super().__init__(
            file.path,
            (file.path,),
            spec,
            gguf_rules(file, spec.vocab_size),
            name if isinstance(name, str) and name else file.path.stem,
            licence if isinstance(licence, str) and licence else None,
        )

    @classmethod
    def open(cls, path: Path) -> GgufCheckpoint:
        """Read the header of a GGUF file."""
        file = GgufFile(path)
        if file.metadata.get("split.count", 0) not in (0, 1):
            raise CheckpointError(
                f"{path.name} is one of {file.metadata['split.count']} parts, expected a whole "
                "model: join them with `llama-gguf-split --merge`."
            )
        return cls(file)

    @cached_property
    def tokenizer_json(self) -> str:
        """The tokenizer in the format of the `tokenizers` library, rebuilt from the metadata."""
        return gguf_tokenizer(self._file)

    def _native(self, name: str) -> str:
        return translate(name, _WHOLE, "blk.{}.", _PARTS)

    def _stored_shape(self, native: str) -> Shape | None:
        tensor = self._file.tensors.get(native)
        return None if tensor is None else tensor.shape

    def _read(self, name: str) -> QuantizedWeight | NDArray[np.float32]:
        weight = read_tensor(self._file, self._native(name))
        part = name.split(".")[2:3]
        if self.spec.family != "llama" or part not in (["q"], ["k"]):
            return weight
        heads = self.spec.n_heads if part == ["q"] else self.spec.n_kv_heads
        return _reorder(weight, _half_split_rows(heads, self.spec.head_dim))


def _half_split_rows(heads: int, head_dim: int) -> NDArray[np.int64]:
    """Where each row of transformers' order lies in llama.cpp's.

    llama.cpp rotates neighbours (0, 1), (2, 3) … of Llama's heads, so its converter interleaved
    the two halves that transformers rotates against each other. Qwen and Gemma are left alone.
    """
    rows = np.arange(heads * head_dim, dtype=np.int64)
    return rows.reshape(heads, head_dim // 2, 2).swapaxes(1, 2).ravel()


def _reorder(weight: Any, rows: NDArray[np.int64]) -> QuantizedWeight | NDArray[np.float32]:
    return weight.rows(rows) if isinstance(weight, QuantizedWeight) else weight[rows]
