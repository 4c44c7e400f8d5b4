"""The head as a program: final norm and the table, in int8 with one scale a row.

XNNPACK's 8-bit products have one scale for each output, not one for each group of 32 inputs, so the
table is rounded once more, row by row. The same rows serve as the embedding where the two are tied.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from dsa_edge.exporters.decoder import Embedding, Top
from dsa_edge.exporters.executorch._layer import RowNorm
from dsa_edge.exporters.executorch._linear import round_activations

__all__ = ["HeadProgram", "per_row"]


def per_row(table: Embedding) -> tuple[Tensor, Tensor]:
    """A table as int8 codes (V, D) and scales (V,) float32."""
    rows = table.dense()
    scales = (rows.abs().amax(1) / 127).clamp(min=1e-12)
    return (rows / scales[:, None]).round().clamp(-127, 127).to(torch.int8), scales


class HeadProgram(nn.Module):
    """Hidden states x (rows, D) → logits (rows, V)."""

    codes8: Tensor
    row_scale: Tensor
    row_zeros: Tensor

    def __init__(self, top: Top) -> None:
        super().__init__()
        self.spec = top.spec
        self.norm = RowNorm(top.norm.gain, top.spec.norm_eps)
        codes, scales = per_row(top.table)
        self.register_buffer("codes8", codes)
        self.register_buffer("row_scale", scales[:, None])
        self.register_buffer("row_zeros", torch.zeros(len(scales), 1, dtype=torch.int8))

    @property
    def form(self) -> dict[str, Any]:
        """What decides the program besides the weights' shapes; the same at every depth."""
        return {**asdict(self.spec), "n_layers": None, "windows": None}

    def forward(self, x: Tensor) -> Tensor:
        """Logits over the whole vocabulary."""
        import torchao.quantization.quant_primitives as torchao

        block = (1, self.codes8.shape[1])
        weight = torchao.dequantize_affine(
            self.codes8, block, self.row_scale, self.row_zeros, torch.int8, -128, 127
        )
        logits = nn.functional.linear(round_activations(self.norm(x)), weight)
        logits = logits * self.spec.logit_scale
        cap = self.spec.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap
