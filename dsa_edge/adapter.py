"""The adapter: what was learned, and its file.

An adapter is one flat float32 vector; `layout.py` has what it consists of. Files are safetensors
with the tensor `adapter` (n,), the gate of several blocks if there are such, and the hash of the
bundle they belong to. A small file has instead the `coordinates` (M,) along a learned start's
directions.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_edge.atomic import write_atomic
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.gate import Gate, check_gate
from dsa_edge.layout import GATES, AdapterSpec, Slot, make_slots
from dsa_edge.pruned import Pruned, differs, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Adapter",
    "AdapterSpec",
    "Coordinates",
    "Slot",
    "compatibility",
    "load_adapter",
    "make_slots",
    "read_adapter_info",
    "save_adapter",
    "write_atomic",
]

FORMAT = "dsa-edge adapter 1"
MAX_BYTES = 1 << 20  # of an adapter file beyond its numbers
TENSORS = ("adapter", "coordinates", "gate")


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Where an adapter lies in a bundle's subspace: c (M,), and the id of the learned start."""

    values: NDArray[np.float32]
    start: str


@dataclass(frozen=True)
class Adapter:
    """What was learned: the flat vector (n,), label biases, choice → nats, and the gate.

    labels: added to the choices' log-probabilities where these choices are chosen among.
    gate: of several blocks; None where there is one, or none was made yet.
    coordinates: of one that was learned along directions of a start, else None; the vector follows
    from them, so a store keeps nothing else.
    """

    vector: NDArray[np.float32]
    labels: dict[str, float] = field(default_factory=dict)
    gate: Gate | None = None
    coordinates: Coordinates | None = None

    def bias(self, choices: Sequence[str]) -> NDArray[np.float32]:
        """The biases (K,) of these choices; zeros unless all of them are known."""
        known = bool(choices) and all(choice in self.labels for choice in choices)
        values = [self.labels[choice] for choice in choices] if known else [0.0] * len(choices)
        return np.array(values, dtype=np.float32)


def save_adapter(
    path: str | Path, adapter: Adapter, identity: str, spec: AdapterSpec,
    pruned: Pruned | None = None, small: bool = False,
) -> None:  # fmt: skip
    """Write an adapter for the bundle of that identity; the file appears whole or not at all.

    pruned: what was left out of the bundle's base. small: write coordinates alone, which only
    bundles with the same learned start can read.
    Raises UsageError for a small file of an adapter that has none.
    """
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "bundle": identity,
        "spec": json.dumps(spec.to_dict()),
        "labels": json.dumps(adapter.labels),
        **({"base": told(pruned)} if pruned else {}),
    }
    at = adapter.coordinates if small else None
    if small and at is None:
        raise UsageError(
            "the adapter was not learned along directions, so there is no small form of it: leave "
            "`small` out, or learn with `along`."
        )
    if at is not None:
        metadata["start"] = at.start
    name, numbers = ("adapter", adapter.vector) if at is None else ("coordinates", at.values)
    tensors = {name: np.ascontiguousarray(numbers, dtype=np.float32)}
    if adapter.gate is not None:
        tensors["gate"] = adapter.gate.table
        metadata["served"] = json.dumps(adapter.gate.served)
    metadata["checksum"] = _checksum(metadata, tensors)
    write_atomic(Path(path), save(tensors, metadata))


def load_adapter(
    path: str | Path, identity: str, size: int, pruned: Pruned | None = None,
    gate: tuple[int, int] | None = None,
) -> Adapter:  # fmt: skip
    """Read an adapter of `size` numbers that belongs to the bundle of that identity.

    pruned: what was left out of the bundle's base. gate: (N, D) of a gate, for several blocks.
    The vector of a small file is empty: the bundle's directions make it of the coordinates.

    Raises AdapterError when the file is missing or damaged, or belongs to another bundle.
    """
    file = Path(path)
    if not file.is_file():
        raise AdapterError(f"no adapter file {file}: give one that `save_adapter` wrote.")
    numbers = size + (gate[0] * (gate[1] + 1) if gate else 0)
    if file.stat().st_size > MAX_BYTES + 4 * numbers:
        raise AdapterError(f"{file} is too large for an adapter of {size} numbers: wrong file?")
    metadata, tensors = _read(file)
    vector = _numbers(file, metadata, tensors)
    if metadata.get("bundle") != identity and (why := differs(metadata.get("base"), pruned)):
        raise AdapterError(
            f"{file} {why}: open the bundle that it belongs to, or train again on this one."
        )
    if metadata.get("bundle") != identity:
        raise AdapterError(
            f"{file} was trained on bundle {str(metadata.get('bundle'))[:12]}…, this one is "
            f"{identity[:12]}…: open the bundle that it belongs to, or train again on this one."
        )
    at = Coordinates(vector, metadata["start"]) if "adapter" not in tensors else None
    shape = (size,) if at is None else (vector.size,)
    if vector.shape != shape or vector.dtype != np.float32 or not np.isfinite(vector).all():
        raise AdapterError(
            f"{file} holds {vector.dtype} {vector.shape}, expected {size} finite float32 numbers: "
            "the file is damaged; save the adapter again."
        )
    made = _gate(file, tensors.get("gate"), metadata.get("served", "[]"))
    check_gate(made, gate, bool(vector.any()), str(file))
    labels = _labels(file, metadata.get("labels", "{}"))
    return Adapter(vector if at is None else vector[:0], labels, made, at)


def _numbers(
    file: Path, metadata: dict[str, str], tensors: dict[str, NDArray[Any]]
) -> NDArray[Any]:
    """The numbers of an adapter file, or its coordinates; AdapterError for other files."""
    small = "start" in metadata and "adapter" not in tensors
    numbers = tensors.get("coordinates" if small else "adapter")
    if metadata.get("format") != FORMAT or numbers is None:
        raise AdapterError(
            f"{file} is not an adapter of dsa-edge: give one that `save_adapter` wrote."
        )
    return numbers


def compatibility(
    path: str | Path, identity: str, spec: AdapterSpec, size: int, pruned: Pruned | None = None,
    start: str | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Why an adapter file does not suit a bundle, one reason a difference; empty when it does.

    start: id of the bundle's learned start.
    Raises AdapterError when it is not an adapter of ours.
    """
    info, reasons = read_adapter_info(path), list[str]()
    if info["bundle"] != identity and (why := differs(info["base"], pruned)):
        reasons.append(f"it {why}")
    theirs, ours = info["spec"], json.loads(json.dumps(asdict(spec)))
    if isinstance(theirs, dict):
        theirs = {**dict.fromkeys(GATES, 1), **theirs}  # which only gated ones tell
        for name, value in ours.items():
            if theirs.get(name) != value:
                reasons.append(f"{name} is {theirs.get(name)}, this bundle's is {value}")
    if info.get("start", start) != start:
        reasons.append("it lies along the directions of another learned start")
    if info["numbers"] != size and "start" not in info:
        reasons.append(f"it has {info['numbers']} numbers, this bundle's adapters have {size}")
    if not np.isfinite(float(str(info["norm"]))):
        reasons.append("not all of its numbers are finite")
    if info["bundle"] != identity and not reasons:
        reasons.append(
            f"it was trained on another base or tokenizer (bundle {str(info['bundle'])[:12]}…, "
            f"this one is {identity[:12]}…)"
        )
    return tuple(reasons)


def _labels(file: Path, text: str) -> dict[str, float]:
    try:
        labels = {str(choice): float(bias) for choice, bias in json.loads(text).items()}
        if not np.isfinite(list(labels.values())).all():
            raise ValueError("they are not all finite")
        return labels
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise AdapterError(
            f"{file} has unreadable label biases ({error}): save the adapter again."
        ) from error


def _gate(file: Path, table: NDArray[Any] | None, served: str) -> Gate | None:
    """The gate of a file, None where it has none."""
    if table is None:
        return None
    try:
        if table.ndim != 2 or table.dtype != np.float32:
            raise ValueError(f"it is {table.dtype} {table.shape}")
        return Gate.read(table, json.loads(served))
    except (ValueError, TypeError, OverflowError, RecursionError, UsageError) as error:
        raise AdapterError(
            f"{file} has an unreadable gate ({error}): save the adapter again."
        ) from error


def _spec(file: Path, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AdapterError(
            f"{file} has an unreadable layout ({error}): save the adapter again."
        ) from error


def read_adapter_info(path: str | Path) -> dict[str, object]:
    """What an adapter file says of itself: bundle, layout, size and norm.

    Raises AdapterError when it is not one of ours.
    """
    metadata, tensors = _read(Path(path))
    vector = _numbers(Path(path), metadata, tensors)
    norm = float(np.sqrt((vector.astype(np.float64) ** 2).sum()))
    gate = _gate(Path(path), tensors.get("gate"), metadata.get("served", "[]"))
    return {
        "format": FORMAT,
        "bundle": metadata.get("bundle"),
        "spec": _spec(Path(path), metadata.get("spec", "null")),
        "numbers": int(vector.size),
        "norm": norm,
        "labels": _labels(Path(path), metadata.get("labels", "{}")),
        "base": metadata.get("base"),
        **({"start": metadata["start"]} if "adapter" not in tensors else {}),
        **({"gate": list(gate.weight.shape), "served": list(gate.served)} if gate else {}),
    }


def _read(file: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """What a file says, and those of its tensors that are ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            there = [name for name in TENSORS if name in opened.keys()]  # noqa: SIM118
            tensors = {name: opened.get_tensor(name) for name in there}
            metadata = opened.metadata() or {}
    # numpy has no bfloat16 and no float8: TypeError, AttributeError
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise AdapterError(
            f"{file} cannot be read as safetensors ({error}): save the adapter again."
        ) from error
    told = metadata.get("checksum")  # files from before there was one have none
    if tensors and told is not None and told != _checksum(metadata, tensors):
        raise AdapterError(f"{file} was damaged after it was saved: save the adapter again.")
    return metadata, tensors


def _checksum(metadata: dict[str, str], tensors: dict[str, NDArray[Any]]) -> str:
    """Over the numbers and all that is said of them, in hex."""
    said = {name: text for name, text in metadata.items() if name != "checksum"}
    content = b"".join(tensors[name].tobytes() for name in TENSORS if name in tensors)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode() + content).hexdigest()
