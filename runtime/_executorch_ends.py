"""The ends of a model beside the ExecuTorch programs: embedding, angles, candidates.

Each is a few rows of a table that the bundle already holds: the head's own int8 rows serve as the
embedding where the two are tied, read in place from the head's data file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.manifest import ExecutorchInfo, TableInfo
from dsa_edge.runtime._engine import Floats, Ints

__all__ = ["Ends"]


class Ends:
    """Tables of one bundle, memory-mapped."""

    def __init__(self, bundle: Bundle) -> None:
        from safetensors.numpy import load_file

        assert bundle.manifest.executorch is not None  # the engine has checked
        self._info: ExecutorchInfo = bundle.manifest.executorch
        self._decoder = bundle.manifest.decoder
        self._small = load_file(bundle.path / self._info.ends)
        self._embedding = _table(bundle, self._info.embedding)
        self._head = _table(bundle, self._info.head_table)

    def embed(self, ids: Ints) -> Floats:
        """Hidden states at the bottom, (…, D), of token ids (…)."""
        rows = self._embedding[ids] * self._small["embedding_scales"][ids][..., None]
        hidden: Floats = (rows * np.float32(self._decoder["embedding_scale"])).astype(np.float32)
        return hidden

    def angles(self, layer: int, positions: Ints) -> tuple[Floats, Floats]:
        """Cosine and sine (B, T, rotated) of a layer's rotary embedding at positions (B, T)."""
        frame = self._info.layers[layer].frame
        frequencies = self._small[f"frequencies_{frame}"]
        angle = positions[..., None].astype(np.float32) * np.concatenate([frequencies, frequencies])
        # In float64: single precision differs between libraries, and one bit of it turns rounded
        # activations of the whole model.
        exact = angle.astype(np.float64)
        factor = self._small[f"factor_{frame}"]
        cosine, sine = np.cos(exact) * factor, np.sin(exact) * factor
        return cosine.astype(np.float32), sine.astype(np.float32)

    def candidate_logits(self, x: Floats, candidates: Ints) -> Floats:
        """Logits (L, B, C) of some tokens alone for hidden states x (L, B, D).

        In float64, so that the order in which a library sums does not show in the result.
        """
        x = x.astype(np.float64)
        square = (x * x).mean(-1, keepdims=True)
        normal = x / np.sqrt(square + self._decoder["norm_eps"]) * self._small["final_norm"]
        scales = self._small["head_scales"][candidates].astype(np.float64)
        rows = self._head[candidates] * scales[:, None]
        logits = (normal @ rows.T) * self._decoder["logit_scale"]
        cap = self._decoder["logit_softcap"]
        scaled: Floats = logits if cap is None else np.tanh(logits / cap) * cap
        return scaled.astype(np.float32)


def _table(bundle: Bundle, table: TableInfo) -> NDArray[Any]:
    """Rows (V, D) int8 of a table that lies somewhere in a file."""
    path = bundle.path / table.file
    return np.memmap(path, np.int8, "r", table.offset, (table.rows, table.width))
