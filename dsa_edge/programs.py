"""The ExecuTorch programs of a bundle: an entry of the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ExecutorchInfo", "ProgramInfo", "TableInfo", "inside", "read_programs"]

MAX_NAME = 250  # bytes of a file's path inside the bundle


@dataclass(frozen=True)
class ProgramInfo:
    """An ExecuTorch program with the data file of its weights; layers of one form share programs.

    frame: which rotary embedding the layer uses.
    """

    program: str
    data: str
    frame: int = 0


@dataclass(frozen=True)
class TableInfo:
    """Rows (rows, width) int8 that lie in a file from byte `offset` on."""

    file: str
    offset: int
    rows: int
    width: int


@dataclass(frozen=True)
class ExecutorchInfo:
    """The ExecuTorch programs of a bundle.

    rows: most rows, lanes times examples times tokens, that a layer program takes at once.
    head_rows: most rows that the head takes.
    ends: safetensors with the final norm, the tables' scales and the rotary frequencies.
    factors: safetensors with u and v of the adapter's blocks.
    operators: what the device must have besides XNNPACK. delegated: share of the base's
    multiply-adds that XNNPACK runs.
    """

    version: str
    rows: int
    head_rows: int
    layers: tuple[ProgramInfo, ...]
    head: ProgramInfo
    ends: str
    factors: str
    embedding: TableInfo
    head_table: TableInfo
    operators: tuple[str, ...]
    delegated: float


def read_programs(entry: Any, n_layers: int) -> ExecutorchInfo | None:
    """Those of a manifest; None where it has none. Raises ValueError, KeyError or TypeError."""
    if entry is None:
        return None
    layers = tuple(_program(layer) for layer in entry["layers"])
    if len(layers) != n_layers:
        raise ValueError(f"{len(layers)} layer programs for {n_layers} layers")
    for name in ("rows", "head_rows"):
        if type(entry[name]) is not int or entry[name] < 1:
            raise ValueError(f"{name} is {entry[name]!r}")
    read = {
        "layers": layers,
        "head": _program(entry["head"]),
        "ends": inside(entry["ends"]),
        "factors": inside(entry["factors"]),
        "embedding": _table(entry["embedding"]),
        "head_table": _table(entry["head_table"]),
        "operators": tuple(entry["operators"]),
    }
    return ExecutorchInfo(**{**entry, **read})


def _program(entry: Any) -> ProgramInfo:
    return ProgramInfo(inside(entry["program"]), inside(entry["data"]), int(entry["frame"]))


def _table(entry: Any) -> TableInfo:
    numbers = [entry[name] for name in ("offset", "rows", "width")]
    if any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"a table is {entry!r}")
    return TableInfo(inside(entry["file"]), *numbers)


def inside(path: str) -> str:
    """A path that stays inside the bundle, and that a file system can hold."""
    if len(path.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise ValueError(f"file path {path[:40]!r}… is longer than {MAX_NAME} bytes")
    parts = Path(path).parts
    if Path(path).is_absolute() or ".." in parts or not parts or "\\" in path:
        raise ValueError(f"file path {path!r} leaves the bundle")
    return path
