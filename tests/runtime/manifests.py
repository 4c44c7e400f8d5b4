"""Manifests as tests edit them: with the checksum that a careful forger would put there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsa_edge.manifest import checksum_of


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    content["checksum"] = checksum_of(content)
    path.write_text(json.dumps(content))


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    write_manifest(path, content)
