"""The frozen tensors of a bundle by name, memory-mapped, read without onnx.

The graphs list their weights as external data: name, type, shape, and where in the shared file.
That part of an ONNX file is a few nested fields of protobuf, which is all that is read here:

    ModelProto 7 graph · GraphProto 5 initializer · TensorProto 1 dims, 2 data_type, 8 name,
    13 external_data · StringStringEntryProto 1 key, 2 value
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError

__all__ = ["read_frozen", "stem_of"]

_ENDS = {
    "embedding": "decoder.embedding",
    "head": "decoder.top.table",
    "final_norm": "decoder.top.norm.gain",
}

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _NAME, _EXTERNAL = 1, 2, 8, 13
_DTYPES = {1: "<f4", 2: "u1", 6: "<i4", 7: "<i8", 10: "<f2"}  # TensorProto.DataType
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Array = NDArray[Any]


def read_frozen(bundle: Bundle) -> dict[str, Array]:
    """Every frozen tensor of a bundle, under the names of its ONNX graphs.

    Of a bundle for ExecuTorch alone, only the adapter's factors. Raises BundleError.
    """
    try:
        if not bundle.manifest.methods:
            return _factors(bundle)
        found: dict[str, Array] = {}
        for method in bundle.manifest.methods:
            file = bundle.method_file(method)
            found |= _external(file.parent, memoryview(file.read_bytes()))
        return found
    except (ValueError, IndexError, KeyError, TypeError, OSError) as error:
        raise BundleError(
            f"the weights of {bundle.path} cannot be read ({error}): copy or export the bundle "
            "again."
        ) from error


def stem_of(name: str) -> str:
    """What a tensor of canonical name (`layers.3.q`, `embedding` …) is called in a bundle.

    Quantized ones end in `.codes`, `.scales` and `.minimum`, columns kept in 16 bits in `.weak`.
    """
    if name in _ENDS:
        return _ENDS[name]
    _, layer, part = name.split(".", 2)
    if part.startswith("norms."):
        return f"decoder.layers.{layer}.{part}.gain"
    return f"decoder.layers.{layer}.linears.{part}"


def _factors(bundle: Bundle) -> dict[str, Array]:
    from safetensors.numpy import load_file

    programs = bundle.manifest.executorch
    stored = load_file(bundle.path / programs.factors) if programs else {}
    return {_graph_name(name): value for name, value in stored.items()}


def _graph_name(name: str) -> str:
    """`layers.3.q.u` → `blocks.3.blocks.q.u`."""
    group, layer, rest = name.split(".", 2)
    return f"blocks.{layer}.blocks.{rest}" if group == "layers" else name


def _external(folder: Path, model: memoryview) -> dict[str, Array]:
    found = {}
    for graph in _all(model, _GRAPH):
        for tensor in _all(graph, _INITIALIZER):
            entries = [(_text(e, 1), _text(e, 2)) for e in _all(tensor, _EXTERNAL)]
            if entries:
                found[_text(tensor, _NAME)] = _mapped(folder, tensor, dict(entries))
    return found


def _mapped(folder: Path, tensor: memoryview, entry: dict[str, str]) -> Array:
    (kind,) = (value for value in _values(tensor, _TYPE))
    dtype, shape = np.dtype(_DTYPES[kind]), tuple(_values(tensor, _DIMS))
    file, offset = folder / Path(entry["location"]).name, int(entry["offset"])
    end = offset + math.prod(shape) * dtype.itemsize
    if min((*shape, offset), default=0) < 0 or end > file.stat().st_size:
        raise ValueError(f"a tensor of shape {shape} at byte {offset} is not in {file.name}")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "c", offset, shape)  # torch wants what it could write to


def _all(message: memoryview, field: int) -> Iterator[memoryview]:
    """The nested messages, or strings, of one field."""
    return (value for number, value in _fields(message) if number == field and _is_bytes(value))


def _values(message: memoryview, field: int) -> Iterator[int]:
    """The whole numbers of one field, packed or not."""
    for number, value in _fields(message):
        if number == field and isinstance(value, int):
            yield value
        elif number == field:
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                yield one


def _text(message: memoryview, field: int) -> str:
    return next((bytes(value).decode() for value in _all(message, field)), "")


def _is_bytes(value: int | memoryview) -> bool:
    return isinstance(value, memoryview)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(tag & 7)
        if tag & 7 == _BYTES:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("a graph is cut off or no ONNX")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, at
