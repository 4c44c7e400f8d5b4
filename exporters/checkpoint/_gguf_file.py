"""The container format of GGUF: metadata, and where each tensor lies.

    magic "GGUF", version u32 | tensor count u64, metadata count u64
    metadata: key, type u32, value | tensors: name, dims u32, extents u64 …, type u32, offset u64
    padding to `general.alignment` | tensor data

All numbers are little-endian; strings are a u64 length and UTF-8. `gguf.GGUFReader` reads the same,
but keeps an array for every token of the vocabulary (4 s for 49k tokens, 0.1 s here) and lets
truncated files through. Every length is checked against the file before anything is allocated.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from dsa_edge.errors import CheckpointError

__all__ = ["GgufFile", "GgufTensor"]

VERSIONS = (2, 3)
MAX_DIMS = 4
STRING, ARRAY = 8, 9
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # type number → struct format


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of the file: shape is outermost first, start and size are in bytes."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    start: int
    size: int


class GgufFile:
    """Metadata by key, tensors by name; tensor bytes stay on disk until asked for.

    Raises CheckpointError when the file is truncated, damaged, or of an unknown version or type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        cursor = _Cursor(path, self.data)
        cursor.skip(4)  # the magic, checked by `open_checkpoint`
        version = cursor.number("I")
        if version not in VERSIONS:
            raise CheckpointError(
                f"{path.name} has GGUF version {version}, expected 2 or 3 in little-endian order: "
                "convert the model again with a current llama.cpp."
            )
        n_tensors, n_entries = cursor.number("Q"), cursor.number("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(n_entries):
            key = cursor.string()
            self.metadata[key] = cursor.value(cursor.number("I"))
        entries = [cursor.tensor() for _ in range(cursor.count(n_tensors, 24))]
        start = _align(cursor.position, self._alignment())
        self.tensors = {entry.name: self._place(entry, start) for entry in entries}

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        """Raw bytes of one tensor, as a view of the file."""
        tensor = self.tensors[name]
        return self.data[tensor.start : tensor.start + tensor.size]

    def _alignment(self) -> int:
        value = self.metadata.get("general.alignment", 32)
        if not isinstance(value, int) or value < 1 or value & (value - 1):
            raise CheckpointError(
                f"{self.path.name} states the alignment {value!r}, expected a power of two: the "
                "file is damaged, download it again."
            )
        return value

    def _place(self, entry: _Entry, start: int) -> GgufTensor:
        """Find a tensor's bytes, with tensor data beginning at `start`."""
        name, shape, kind, offset = entry
        try:
            quantization = GGMLQuantizationType(kind)
        except ValueError as error:
            raise CheckpointError(
                f"{self.path.name}: tensor {name!r} has the type number {kind}, which this gguf "
                "package does not know: convert the model to Q4_1, Q4_0, Q8_0 or F16."
            ) from error
        block, block_bytes = GGML_QUANT_SIZES[quantization]
        if shape[-1] % block:
            raise CheckpointError(
                f"{self.path.name}: rows of {name!r} have {shape[-1]} values, expected a multiple "
                f"of {block} for {quantization.name}: the file is damaged, download it again."
            )
        size = math.prod(shape) // block * block_bytes
        if start + offset + size > len(self.data):
            raise CheckpointError(
                f"{self.path.name} is truncated: tensor {name!r} ends at byte "
                f"{start + offset + size}, but the file has {len(self.data)}: download it again."
            )
        return GgufTensor(name, quantization, shape, start + offset, size)


class _Entry(NamedTuple):
    """A tensor as the header lists it; shape is outermost first, offset from the tensor data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class _Cursor:
    """Reads the header front to back."""

    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        self.path, self.data = path, data.data
        self.position = 0

    def skip(self, size: int) -> memoryview:
        """The next `size` bytes."""
        if size > len(self.data) - self.position:
            raise CheckpointError(
                f"{self.path.name} is truncated: its header needs {size} bytes at byte "
                f"{self.position} of {len(self.data)}: download it again."
            )
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, code: str) -> Any:
        """A little-endian number of a `struct` format."""
        return struct.unpack(f"<{code}", self.skip(struct.calcsize(f"<{code}")))[0]

    def count(self, n: int, least: int) -> int:
        """A number of items of at least `least` bytes each, once it is clear that they fit."""
        if n * least > len(self.data) - self.position:
            raise CheckpointError(
                f"{self.path.name} is truncated: its header announces {n} items at byte "
                f"{self.position} of {len(self.data)}: download it again."
            )
        return n

    def string(self) -> str:
        raw = bytes(self.skip(self.number("Q")))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{self.path.name} holds text that is not UTF-8 before byte {self.position}: the "
                "file is damaged, download it again."
            ) from error

    def value(self, kind: int) -> Any:
        """A metadata value: number, string, or list of either."""
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.number(self._code(kind))
        item, length = self.number("I"), self.number("Q")
        if item == STRING:
            return [self.string() for _ in range(self.count(length, 8))]
        code = self._code(item)
        self.count(length, struct.calcsize(f"<{code}"))
        return list(struct.unpack(f"<{length}{code}", self.skip(length * struct.calcsize(code))))

    def tensor(self) -> _Entry:
        """One entry of the list of tensors."""
        name = self.string()
        n_dims = self.number("I")
        if not 1 <= n_dims <= MAX_DIMS:
            raise CheckpointError(
                f"{self.path.name}: tensor {name!r} has {n_dims} dimensions, expected 1 to "
                f"{MAX_DIMS}: the file is damaged, download it again."
            )
        extents = [self.number("Q") for _ in range(n_dims)]  # innermost first
        return _Entry(name, tuple(reversed(extents)), self.number("I"), self.number("Q"))

    def _code(self, kind: int) -> str:
        if kind not in SCALARS:
            raise CheckpointError(
                f"{self.path.name} holds a metadata value of type {kind} before byte "
                f"{self.position}, expected 0 to 12: the file is damaged, download it again."
            )
        return SCALARS[kind]


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
