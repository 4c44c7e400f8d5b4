"""The adapter: what is trained, how it is laid out, and its file.

An adapter is one flat float32 vector. Every trained part is a *slot*, a named range of it, in
canonical order: layer by layer from the split layer up, and within a layer as it computes, q k v o
gate up down. `kinds.py` has what each kind trains.
Files are safetensors with the tensor `adapter` (n,) and the hash of the bundle they belong to.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.kinds import KINDS, POINTS, Geometry
from dsa_edge.pruned import Pruned, differs, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Adapter",
    "AdapterSpec",
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


@dataclass(frozen=True)
class AdapterSpec:
    """What carries the adapter and where it acts.

    kind: one of `KINDS`. rank: its size at a point, as each kind counts it: singular directions,
        columns, width; 0 takes the kind's own. targets: points that carry a block, in any order;
        none takes the kind's own.
    split: first adapted layer as a share of the depth, 0 ≤ split < 1 (0.5: the upper half).
    invocation: last prompt tokens on which the adapter already acts, ≥ 1.
    """

    kind: str = "core"
    rank: int = 0
    targets: tuple[str, ...] = ()
    split: float = 0.5
    invocation: int = 1

    def __post_init__(self) -> None:
        """Fill in what the kind decides, and refuse what no graph can express."""
        if self.kind not in KINDS:
            raise UsageError(
                f"adapter kind {self.kind!r} is unknown: use one of {', '.join(KINDS)}."
            )
        kind = KINDS[self.kind]
        object.__setattr__(self, "rank", self.rank or kind.rank)
        object.__setattr__(self, "targets", self.targets or kind.default)
        unknown = [t for t in self.targets if t not in kind.points]
        if unknown or len(set(self.targets)) != len(self.targets):
            raise UsageError(
                f"adapter targets {list(self.targets)} must be distinct, and for {self.kind} be "
                f"out of {', '.join(kind.points)}: correct --targets."
            )
        if not 0 <= self.split < 1:
            raise UsageError(
                f"split is {self.split}, expected 0 ≤ split < 1 (a share of the depth)."
            )
        if self.rank < 1 or self.invocation < 1:
            raise UsageError(
                f"rank is {self.rank} and invocation {self.invocation}, expected at least 1 each."
            )

    def split_layer(self, n_layers: int) -> int:
        """Index of the first adapted layer."""
        return min(math.floor(self.split * n_layers), n_layers - 1)

    @property
    def points(self) -> tuple[str, ...]:
        """The targets in canonical order."""
        return tuple(point for point in POINTS if point in self.targets)

    def parts(self, geometry: Geometry, point: str) -> dict[str, tuple[int, ...]]:
        """Shapes of what is trained at a point, by name."""
        return KINDS[self.kind].parts(*geometry.shape(point), self.rank)

    def check(self, geometry: Geometry) -> None:
        """Refuse a rank that some target of a model is too small for; raises UsageError."""
        for point in self.points:
            why = KINDS[self.kind].limit(*geometry.shape(point), self.rank)
            if why:
                raise UsageError(
                    f"rank is {self.rank} for {self.kind}, but {point} of this model {why}: change "
                    "--rank."
                )


@dataclass(frozen=True)
class Slot:
    """A named range of the flat adapter: values [offset, offset + size) are `shape`."""

    name: str  # "layers.15.q"
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in this slot."""
        return math.prod(self.shape)


def make_slots(spec: AdapterSpec, geometry: Geometry) -> tuple[Slot, ...]:
    """All slots in canonical order."""
    slots, offset = [], 0
    for layer in range(spec.split_layer(geometry.n_layers), geometry.n_layers):
        for point in spec.points:
            for part, shape in spec.parts(geometry, point).items():
                name = f"layers.{layer}.{point}" + (f".{part}" if part else "")
                slots.append(Slot(name, offset, shape))
                offset += slots[-1].size
    return tuple(slots)


@dataclass(frozen=True)
class Adapter:
    """What was learned: the flat vector (n,), and label biases, choice → nats.

    labels: added to the choices' log-probabilities where these choices are chosen among.
    """

    vector: NDArray[np.float32]
    labels: dict[str, float] = field(default_factory=dict)

    def bias(self, choices: Sequence[str]) -> NDArray[np.float32]:
        """The biases (K,) of these choices; zeros unless all of them are known."""
        known = bool(choices) and all(choice in self.labels for choice in choices)
        values = [self.labels[choice] for choice in choices] if known else [0.0] * len(choices)
        return np.array(values, dtype=np.float32)


def save_adapter(
    path: str | Path, adapter: Adapter, identity: str, spec: AdapterSpec,
    pruned: Pruned | None = None,
) -> None:  # fmt: skip
    """Write an adapter for the bundle of that identity; the file appears whole or not at all.

    pruned: what was left out of the bundle's base.
    """
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "bundle": identity,
        "spec": json.dumps(asdict(spec)),
        "labels": json.dumps(adapter.labels),
        **({"base": told(pruned)} if pruned else {}),
    }
    vector = np.ascontiguousarray(adapter.vector, dtype=np.float32)
    metadata["checksum"] = _checksum(metadata, vector)
    write_atomic(Path(path), save({"adapter": vector}, metadata))


def load_adapter(
    path: str | Path, identity: str, size: int, pruned: Pruned | None = None
) -> Adapter:
    """Read an adapter of `size` numbers that belongs to the bundle of that identity.

    pruned: what was left out of the bundle's base.

    Raises AdapterError when the file is missing or damaged, or belongs to another bundle.
    """
    file = Path(path)
    if not file.is_file():
        raise AdapterError(f"no adapter file {file}: give one that `save_adapter` wrote.")
    if file.stat().st_size > MAX_BYTES + 4 * size:
        raise AdapterError(f"{file} is too large for an adapter of {size} numbers: wrong file?")
    metadata, vector = _read(file)
    if metadata.get("format") != FORMAT or vector is None:
        raise AdapterError(
            f"{file} is not an adapter of dsa-edge: give one that `save_adapter` wrote."
        )
    if metadata.get("bundle") != identity and (why := differs(metadata.get("base"), pruned)):
        raise AdapterError(
            f"{file} {why}: open the bundle that it belongs to, or train again on this one."
        )
    if metadata.get("bundle") != identity:
        raise AdapterError(
            f"{file} was trained on bundle {str(metadata.get('bundle'))[:12]}…, this one is "
            f"{identity[:12]}…: open the bundle that it belongs to, or train again on this one."
        )
    if vector.shape != (size,) or vector.dtype != np.float32 or not np.isfinite(vector).all():
        raise AdapterError(
            f"{file} holds {vector.dtype} {vector.shape}, expected {size} finite float32 numbers: "
            "the file is damaged; save the adapter again."
        )
    return Adapter(vector, _labels(file, metadata.get("labels", "{}")))


def compatibility(
    path: str | Path, identity: str, spec: AdapterSpec, size: int, pruned: Pruned | None = None
) -> tuple[str, ...]:
    """Why an adapter file does not suit a bundle, one reason a difference; empty when it does.

    Raises AdapterError when it is not an adapter of ours.
    """
    info, reasons = read_adapter_info(path), list[str]()
    if info["bundle"] != identity and (why := differs(info["base"], pruned)):
        reasons.append(f"it {why}")
    theirs, ours = info["spec"], json.loads(json.dumps(asdict(spec)))
    if isinstance(theirs, dict):
        for name, value in ours.items():
            if theirs.get(name) != value:
                reasons.append(f"{name} is {theirs.get(name)}, this bundle's is {value}")
    if info["numbers"] != size:
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
    metadata, vector = _read(Path(path))
    if metadata.get("format") != FORMAT or vector is None:
        raise AdapterError(
            f"{path} is not an adapter of dsa-edge: give one that `save_adapter` wrote."
        )
    norm = float(np.sqrt((vector.astype(np.float64) ** 2).sum()))
    return {
        "format": FORMAT,
        "bundle": metadata.get("bundle"),
        "spec": _spec(Path(path), metadata.get("spec", "null")),
        "numbers": int(vector.size),
        "norm": norm,
        "labels": _labels(Path(path), metadata.get("labels", "{}")),
        "base": metadata.get("base"),
    }


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a crash or a full disk leaves the old one in place.

    What a crash left of an earlier write to the same place goes with it.
    Raises AdapterError naming the file when it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AdapterError(
            f"cannot write {path} ({error.strerror}): free some space or choose another place; "
            "the old file is untouched."
        ) from error
    with suppress(OSError):
        _clean(path)


def _clean(path: Path) -> None:
    """Remove what programs that are gone left of their writes to a place."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        number = left.name.split(".")[-2]
        if number.isdecimal() and not _runs(int(number)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process runs, for all that is known."""
    if os.name == "posix":  # elsewhere, to ask would end it
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # another user's
            pass
    return True


def _read(file: Path) -> tuple[dict[str, str], NDArray[np.float32] | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            vector = opened.get_tensor("adapter") if "adapter" in opened.keys() else None  # noqa: SIM118
            metadata = opened.metadata() or {}
    # numpy has no bfloat16 and no float8: TypeError, AttributeError
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise AdapterError(
            f"{file} cannot be read as safetensors ({error}): save the adapter again."
        ) from error
    told = metadata.get("checksum")  # files from before there was one have none
    if vector is not None and told is not None and told != _checksum(metadata, vector):
        raise AdapterError(f"{file} was damaged after it was saved: save the adapter again.")
    return metadata, vector


def _checksum(metadata: dict[str, str], vector: NDArray[np.float32]) -> str:
    """Over the numbers and all that is said of them, in hex."""
    said = {name: text for name, text in metadata.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode() + vector.tobytes()).hexdigest()
