"""JSON objects of a Hugging Face folder, and other libraries' words in our errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsa_edge.errors import CheckpointError

__all__ = ["read_json", "reason"]


def read_json(file: Path, optional: bool = False) -> dict[str, Any]:
    """The object in a JSON file; {} for an optional file that is absent.

    Raises CheckpointError when the file cannot be read or holds anything but an object.
    """
    if optional and not file.exists():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file} cannot be read as JSON ({reason(error)}): download the checkpoint again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{file} holds a {type(content).__name__}, expected a JSON object: download the "
            "checkpoint again."
        )
    return content


def reason(error: Exception) -> str:
    """What a library said, short and on one line, to stand in brackets inside a sentence."""
    return " ".join(str(error).split())[:160].rstrip(" .") or type(error).__name__
