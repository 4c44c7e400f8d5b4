"""The C++ learning of runtime/native/learn, built once a session, and asked one thing at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[2] / "runtime" / "native" / "learn"
KINDS = (
    "usage", "bundle", "adapter", "example", "engine", "budget", "privacy", "store", "damaged",
    "wrong_key", "tampered", "stopped",
)  # fmt: skip
IDENTITY = "a" * 64


def build(folder: Path, *options: str) -> Path:
    """Configure and build into a folder; skips where the machine lacks what it needs."""
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("no CMake or no C++ compiler")
    configure = [cmake, "-S", str(SOURCES), "-B", str(folder), "-DDSA_TESTS=ON", *options]
    done = subprocess.run(configure, capture_output=True, text=True)
    if done.returncode and ("Could NOT find" in done.stderr or "DSA_JSON_INCLUDE" in done.stderr):
        pytest.skip(
            "no headers: apt-get install libsqlite3-dev libssl-dev zlib1g-dev nlohmann-json3-dev"
        )
    assert done.returncode == 0, done.stderr[-2000:]
    make = [cmake, "--build", str(folder), "--parallel", str(min(2, os.cpu_count() or 1))]
    done = subprocess.run(make, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "warning" not in done.stdout + done.stderr
    return folder


class NativeError(Exception):
    """An error of the C++ side: its kind, and its sentence."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Native:
    """`learn_tool` of a build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self) -> list[str]:
        return [str(self.folder / "tests" / "learn_tool")]

    def __call__(self, do: str, folder: Path | None = None, **asked: Any) -> dict[str, Any]:
        """What the tool answers; raises NativeError where it refuses."""
        place = {} if folder is None else {"folder": str(folder)}
        given = json.dumps({"do": do, "identity": IDENTITY, **place, **asked})
        done = subprocess.run(self.command(), input=given, capture_output=True, text=True)
        if done.returncode == 9:
            raise KeyboardInterrupt  # it was told to die
        answer = dict(json.loads(done.stdout)) if done.stdout else {}
        if "error" in answer:
            raise NativeError(KINDS[answer["kind"]], answer["error"])
        assert done.returncode == 0, done.stderr[-2000:]
        return answer
