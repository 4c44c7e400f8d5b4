"""The external-data file that all methods share: every weight once, 64-byte aligned."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import onnx_ir as ir
import torch
from torch import Tensor, nn

__all__ = ["ExternalData"]

ALIGNMENT = 64  # bytes: a cache line, and what vector loads want
_DTYPES = {
    torch.int32: ir.DataType.INT32,
    torch.uint8: ir.DataType.UINT8,
    torch.float16: ir.DataType.FLOAT16,
    torch.float32: ir.DataType.FLOAT,
}


class ExternalData:
    """Writes weights to one file and hands out references to them.

    A tensor that a model uses twice (a tied embedding) is written once.
    """

    def __init__(self, path: Path, model: nn.Module) -> None:
        self._path = path
        self._references: dict[int, ir.ExternalTensor] = {}
        with path.open("wb") as file:
            for name, buffer in model.named_buffers():
                self._append(file, name, buffer)

    def tensor(self, buffer: Tensor) -> ir.ExternalTensor:
        """The reference to a buffer of the model."""
        return self._references[buffer.data_ptr()]

    def _append(self, file: BinaryIO, name: str, buffer: Tensor) -> None:
        if buffer.data_ptr() in self._references:
            return
        offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
        file.seek(offset)
        raw = buffer.contiguous().numpy().tobytes()
        file.write(raw)
        self._references[buffer.data_ptr()] = ir.ExternalTensor(
            location=self._path.name,
            offset=offset,
            length=len(raw),
            dtype=_DTYPES[buffer.dtype],
            shape=ir.Shape(buffer.shape),
            name=name,
            base_dir=str(self._path.parent),
        )
