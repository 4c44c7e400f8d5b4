"""A learned start: the adapter at which users begin, and the directions in which they differ.

`dsa-edge meta-train` writes it as one safetensors file, `dsa-edge export --start` puts it into a
bundle. A user who learns along M directions is M numbers, and its adapter is

    θ = start + Σ_i c_i d_i                     directions d (M, n), one standard deviation each

Tensors of the file: `adapter` (n,) float32, `directions` (M, n) float16, M ≥ 0, and for several
blocks `gate` (N, D + 1) float32. In a bundle the first and the last are its `adapter.safetensors`,
and the directions a file of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.atomic import write_atomic
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.gate import Gate

__all__ = [
    "DIRECTIONS",
    "Start",
    "load_directions",
    "load_start",
    "save_directions",
    "save_start",
    "start_info",
]

FORMAT = "dsa-edge start 1"
DIRECTIONS = "directions.safetensors"  # in a bundle
SPACE = "dsa-edge directions 1"
MOST = 4096  # directions
MAX_BYTES = 1 << 20  # of a file beyond its numbers
MAX_START = 1 << 30  # bytes of a start
TENSORS = ("adapter", "directions", "gate")

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Start:
    """What a population taught.

    vector: (n,) the adapter. directions: (M, n), each as long as users vary along it.
    identity, spec: the bundle that it belongs to, and its adapter layout. base: sha256 of the
    checkpoint. users: how many it was learned from. gate: of several blocks.
    Raises UsageError for shapes that do not belong together, or numbers that are not finite.
    """

    vector: Floats = field(repr=False)
    directions: Halves = field(repr=False)
    identity: str
    spec: AdapterSpec
    base: str
    users: int
    gate: Gate | None = None

    def __post_init__(self) -> None:
        """Refuse what is no start."""
        rows = len(self.directions)
        if (
            self.vector.ndim != 1 or self.vector.dtype != np.float32
            or self.directions.shape != (rows, self.vector.size) or rows > MOST
            or self.directions.dtype != np.float16
        ):  # fmt: skip
            raise UsageError(
                f"a start has an adapter {self.vector.dtype} {self.vector.shape} and directions "
                f"{self.directions.dtype} {self.directions.shape}, expected float32 (n,) and "
                f"float16 (M, n) with M ≤ {MOST}: make it with `dsa-edge meta-train`."
            )
        if not (np.isfinite(self.vector).all() and np.isfinite(self.directions).all()):
            raise UsageError("not all numbers of the start are finite: lower the rates.")

    @property
    def id(self) -> str:
        """What journals that begin here are bound to, 64 hex digits."""
        parts = [self.vector.tobytes(), self.directions.tobytes()]
        parts += [] if self.gate is None else [self.gate.table.tobytes()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @property
    def adapter(self) -> Adapter:
        """What users begin with."""
        return Adapter(self.vector, gate=self.gate)

    def check_spec(self, spec: AdapterSpec, base: str, size: int) -> None:
        """Refuse another adapter layout or another base before any work; raises AdapterError.

        size: numbers of the adapter.
        """
        ours, theirs = spec.to_dict(), self.spec.to_dict()
        differing = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
        if differing:
            told = ", ".join(f"{k} {theirs.get(k)}" for k in differing)
            raise AdapterError(
                f"the start was learned for an adapter of {told}, this one has "
                f"{', '.join(str(ours.get(k)) for k in differing)}: use the same options, or learn "
                "a start for these with `dsa-edge meta-train`."
            )
        if base != self.base:
            raise AdapterError(
                f"the start was learned on base {self.base[:12]}…, this one is {base[:12]}…: use "
                "that base, or learn a start on this one with `dsa-edge meta-train`."
            )
        if size != self.vector.size:
            raise AdapterError(
                f"the start has {self.vector.size} numbers, this adapter has {size}: make it anew "
                "with `dsa-edge meta-train`."
            )

    def check(self, identity: str) -> None:
        """Refuse another bundle; raises AdapterError."""
        if identity != self.identity:
            raise AdapterError(
                f"the start belongs to bundle {self.identity[:12]}…, this one is "
                f"{identity[:12]}…: quantize and prune as there, or learn a start on this one."
            )


def save_start(path: str | Path, start: Start) -> None:
    """Write a start; the file appears whole or not at all."""
    tensors: Tensors = {"adapter": start.vector, "directions": start.directions}
    metadata = {
        "format": FORMAT,
        "bundle": start.identity,
        "spec": json.dumps(start.spec.to_dict()),
        "base": start.base,
        "users": str(start.users),
    }
    if start.gate is not None:
        tensors["gate"] = start.gate.table
        metadata["served"] = json.dumps(start.gate.served)
    _save(Path(path), tensors, metadata)


def load_start(path: str | Path) -> Start:
    """Read a start.

    Raises AdapterError when the file is missing, damaged, or no start.
    """
    file = Path(path)
    metadata, tensors = _read(file, FORMAT, "start", MAX_START)
    try:
        spec = json.loads(metadata["spec"])
        table = tensors.get("gate")
        gate = None if table is None else Gate.read(table, json.loads(metadata["served"]))
        return Start(
            tensors["adapter"], tensors["directions"], metadata["bundle"],
            AdapterSpec(**{**spec, "targets": tuple(spec["targets"])}), metadata["base"],
            int(metadata["users"]), gate,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, UsageError) as error:
        raise AdapterError(
            f"{file} is no whole start ({error}): make it anew with `dsa-edge meta-train`."
        ) from error


def start_info(path: str | Path) -> dict[str, object] | None:
    """What a start says of itself; None for a file that is none.

    Raises AdapterError for a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            if (opened.metadata() or {}).get("format") != FORMAT:
                return None
    except (SafetensorError, OSError):
        return None
    start = load_start(path)
    return {
        "format": FORMAT,
        "id": start.id,
        "bundle": start.identity,
        "spec": start.spec.to_dict(),
        "numbers": start.vector.size,
        "directions": len(start.directions),
        "users": start.users,
        **({"served": list(start.gate.served)} if start.gate else {}),
    }


def save_directions(path: Path, directions: Halves) -> None:
    """Write the directions (M, n) of a bundle."""
    _save(path, {"directions": directions}, {"format": SPACE})


def load_directions(path: Path, count: int, size: int) -> Halves:
    """The first `count` directions of a bundle whose adapters have `size` numbers.

    Raises AdapterError when the file is missing or damaged, or has fewer.
    """
    _, tensors = _read(path, SPACE, "directions", 2 * MOST * size)
    found = tensors.get("directions")
    if (
        found is None or found.dtype != np.float16 or found.ndim != 2 or found.shape[1] != size
        or len(found) < count or not np.isfinite(found[:count]).all()
    ):  # fmt: skip
        shape = None if found is None else found.shape
        raise AdapterError(
            f"{path} holds directions {shape}, expected {count} or more of {size} finite float16 "
            "numbers: copy or export the bundle again."
        )
    return np.ascontiguousarray(found[:count])


def _save(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    told = {**metadata, "checksum": _checksum(metadata, whole)}
    write_atomic(path, save(whole, told))


def _read(file: Path, format: str, what: str, most: int) -> tuple[dict[str, str], Tensors]:
    """Metadata and tensors of a file of ours, whole."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise AdapterError(f"no file {file}: give a {what} that dsa-edge wrote.")
    if file.stat().st_size > most + MAX_BYTES:
        raise AdapterError(f"{file} is too large for a {what} of dsa-edge: wrong file?")
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            there = [name for name in TENSORS if name in opened.keys()]  # noqa: SIM118
            ours = metadata.get("format") == format
            tensors = {name: opened.get_tensor(name) for name in there if ours}
    # numpy has no bfloat16 and no float8: TypeError, AttributeError
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise AdapterError(
            f"{file} cannot be read as safetensors ({error}): copy it again."
        ) from error
    if not ours:
        raise AdapterError(f"{file} is no {what} of dsa-edge: give one that it wrote.")
    if metadata.get("checksum") != _checksum(metadata, tensors):
        raise AdapterError(f"{file} was damaged after it was written: copy it again.")
    return metadata, tensors


def _checksum(metadata: Mapping[str, str], tensors: Tensors) -> str:
    """Over the numbers and all that is said of them, in hex."""
    said = {name: text for name, text in metadata.items() if name != "checksum"}
    content = b"".join(tensors[name].tobytes() for name in TENSORS if name in tensors)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode() + content).hexdigest()
