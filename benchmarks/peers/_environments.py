"""Each peer's own environment: a venv with what its requirements file pins, made once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["environment", "interpreter", "pythons"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
ALL = ""  # the name under which a Python for every peer is given


def pythons(given: Sequence[str]) -> dict[str, str]:
    """`PATH` or `NAME=PATH` → Python by the environment's name; a bare path is for all others."""
    split = [word.rpartition("=") for word in given]
    return {name: path for name, _, path in split}


def interpreter(name: str, given: Mapping[str, str], folder: Path) -> str:
    """The Python of an environment: the given one, or that of a venv which is made if need be."""
    if name in given or ALL in given:
        return given.get(name) or given[ALL]
    requirements, made = FOLDER / "requirements" / f"{name}.txt", folder / name
    stamp = made / hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    if not stamp.is_file():
        print(f"installing {requirements.relative_to(ROOT)} into {made}", file=sys.stderr)
        python = made / "bin" / "python"
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(made)],
            [str(python), "-m", "pip", "install", "-qq", "-r", str(requirements)],
        ):
            subprocess.run(command, check=True)
        stamp.touch()
    return str(made / "bin" / "python")


def environment() -> dict[str, str]:
    """Variables of a peer's process: this checkout is found, the network is not asked."""
    paths = [str(path) for path in (ROOT, ROOT / "benchmarks", FOLDER)]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
