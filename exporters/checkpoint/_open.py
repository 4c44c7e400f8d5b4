"""Tell what lies at a path, and open it."""

from __future__ import annotations

from pathlib import Path

from dsa_edge.errors import CheckpointError, MissingDependencyError
from dsa_edge.exporters.checkpoint._base import Checkpoint

__all__ = ["open_checkpoint"]

MAGIC = b"GGUF"


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a Hugging Face folder or a GGUF file: headers and tokenizer are read, weights are not.

    Raises CheckpointError when the path is missing, damaged, incomplete, or holds a model that
    this package does not support; MissingDependencyError when the `gguf` package is needed.
    """
    path = Path(path)
    if path.is_dir():
        from dsa_edge.exporters.checkpoint._huggingface import HuggingFaceCheckpoint

        return HuggingFaceCheckpoint.open(path)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist: give the folder of a Hugging Face model (config.json and "
            "*.safetensors) or a .gguf file."
        )
    start = _first_bytes(path)
    if start != MAGIC:
        raise CheckpointError(_not_gguf(path, start))
    return _open_gguf(path)


def _open_gguf(path: Path) -> Checkpoint:
    try:
        from dsa_edge.exporters.checkpoint._gguf import GgufCheckpoint
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise MissingDependencyError("gguf", "export", "reading a GGUF file") from error
    return GgufCheckpoint.open(path)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): check its permissions."
        ) from error


def _not_gguf(path: Path, start: bytes) -> str:
    if path.suffix in (".safetensors", ".json"):
        return (
            f"{path} is one file of a Hugging Face model: give its folder, with config.json and "
            "the tokenizer, instead."
        )
    return (
        f"{path} is not a GGUF file (it starts with {start!r}, expected {MAGIC!r}): give a .gguf "
        "file or the folder of a Hugging Face model."
    )
