"""The files of a LoRA in a folder: what their headers say, and then their numbers.

Names and shapes are read first, so that nothing is allocated for a file that will be refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import AdapterError

__all__ = [
    "CONFIG",
    "PEFT_WEIGHTS",
    "Shape",
    "read_config",
    "read_shapes",
    "read_tensors",
    "weights",
]

CONFIG = "adapter_config.json"
PEFT_WEIGHTS, MLX_WEIGHTS = "adapter_model.safetensors", "adapters.safetensors"
MAX_CONFIG = 1 << 20  # bytes
FLOATS = ("F16", "BF16", "F32", "F64")

Shape = tuple[int, ...]


def read_config(folder: Path) -> dict[str, Any]:
    """The object in `adapter_config.json`. Raises AdapterError."""
    file = folder / CONFIG
    if not file.is_file():
        raise AdapterError(
            f"{folder} has no {CONFIG}, expected it beside {PEFT_WEIGHTS} or {MLX_WEIGHTS}: give "
            "the folder that PEFT, Unsloth or MLX-LM saved an adapter in."
        )
    try:
        if file.stat().st_size > MAX_CONFIG:
            raise ValueError(f"it has more than {MAX_CONFIG} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(
            f"{file} is no JSON of a configuration ({_reason(error)}): save the adapter again."
        ) from error


def weights(folder: Path) -> Path:
    """The file with the numbers. Raises AdapterError."""
    for name in (PEFT_WEIGHTS, MLX_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    pickled = next(iter(sorted([*folder.glob("*.bin"), *folder.glob("*.npz")])), None)
    found = f"only {pickled.name}" if pickled else "no weights"
    raise AdapterError(
        f"{folder} holds {found}, expected {PEFT_WEIGHTS} or {MLX_WEIGHTS}: save the adapter again "
        "in safetensors."
    )


def read_shapes(file: Path) -> dict[str, Shape]:
    """Names and shapes of the tensors of floating-point numbers. Raises AdapterError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            dtypes = {name: entry.get_dtype() for name, entry in slices.items()}
            shapes = {name: tuple(entry.get_shape()) for name, entry in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    other = next((name for name, dtype in dtypes.items() if dtype not in FLOATS), None)
    if other is not None:
        raise AdapterError(
            f"{file} holds {other!r} as {dtypes[other]}, expected {', '.join(FLOATS)}: save the "
            "adapter without quantization."
        )
    return shapes


def read_tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    """All tensors in float32, bfloat16 ones too, which numpy lacks. Raises AdapterError."""
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(file.read_bytes())
        return {name: _numbers(entry) for name, entry in entries}
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _numbers(entry: dict[str, Any]) -> NDArray[np.float32]:
    raw, shape = bytes(entry["data"]), entry["shape"]
    if entry["dtype"] == "BF16":  # the upper half of a float32
        wide = np.frombuffer(raw, "<u2").astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32).reshape(shape)
    dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[entry["dtype"]]
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return np.frombuffer(raw, dtype).astype(np.float32).reshape(shape)


def _unreadable(file: Path, error: Exception) -> AdapterError:
    return AdapterError(
        f"{file} is not a whole safetensors file ({_reason(error)}): save or copy it again."
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(" .") or type(error).__name__
