"""The native runner of runtime/native: built once into build/native, as library and program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dsa_edge.kernels.library import executorch_root

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "runtime" / "native"
PACKAGES = (
    "apt-get install libsqlite3-dev libssl-dev zlib1g-dev nlohmann-json3-dev libpcre2-dev "
    "libutf8proc-dev"
)
STATUS = (
    "ok", "internal", "usage", "bundle", "adapter", "example", "engine", "budget", "privacy",
    "store", "damaged", "wrong_key", "tampered", "stopped",
)  # fmt: skip


def build(folder: Path, *options: str) -> Path:
    """Configure and build into a folder; skips where the machine lacks what it needs."""
    cmake, executorch = shutil.which("cmake"), executorch_root()
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("no CMake or no C++ compiler")
    if executorch is None:
        pytest.skip("ExecuTorch is not installed")
    root = f"-DEXECUTORCH_ROOT={executorch}"
    configure = [cmake, "-S", str(SOURCES), "-B", str(folder), root, "-DDSA_TESTS=ON", *options]
    done = subprocess.run(configure, capture_output=True, text=True)
    if done.returncode and ("Could NOT find" in done.stderr or "Could not find" in done.stderr):
        pytest.skip(f"no headers: {PACKAGES}")
    assert done.returncode == 0, done.stderr[-2000:]
    make = [cmake, "--build", str(folder), "--parallel", str(min(2, os.cpu_count() or 1))]
    done = subprocess.run(make, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


class RunnerError(Exception):
    """A status other than ok, and its sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.kind = STATUS[status]


class Library:
    """`libdsa_runner` and `dsa_runner` of a build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cache = (folder / "CMakeCache.txt").read_text(encoding="utf-8")
        self.sanitized = "DSA_SANITIZE:STRING=address" in cache
        self.environment: dict[str, str] = {}
        if self.sanitized:  # a Python that loads it must have these first
            names = "libasan.so", "libstdc++.so.6"
            found = [
                subprocess.check_output(["c++", f"-print-file-name={name}"], text=True).strip()
                for name in names
            ]
            self.environment = {"LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0"}

    def run(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """One command with --json; its answer, or {"error": …} where another code is expected."""
        command = [str(self.folder / "dsa_runner"), *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return {"error": done.stderr.strip()} if code else dict(json.loads(done.stdout))


class Runner:
    """A bundle that the library has opened, in a process of its own (`native_child.py`)."""

    def __init__(self, library: Library, bundle: Path, store: Path | None = None) -> None:
        script = Path(__file__).with_name("native_child.py")
        words = [sys.executable, script, library.folder / "libdsa_runner.so", bundle]
        words += [] if store is None else [store]
        self._child = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | library.environment,
        )  # fmt: skip
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "open\n"

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()
        assert self._child.returncode == 0

    def ask(self, call: str, **asked: Any) -> dict[str, Any]:
        """One call; raises RunnerError for a status other than ok."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(json.dumps({"call": call, **asked}), file=self._child.stdin, flush=True)
        made: dict[str, Any] = json.loads(self._child.stdout.readline())
        if "status" in made:
            raise RunnerError(made["status"], made["error"])
        return made

    def text(self, call: str, *given: bytes, null: bool = False) -> str:
        """What a call puts out as a text; null: asked of no runner."""
        return str(self.ask(call, texts=[text.hex() for text in given], null=null)["text"])

    def tokens(self, prompt: str) -> list[int]:
        return list(json.loads(self.text("dsa_tokens", prompt.encode())))

    def plain(self, text: str) -> str:
        return self.text("dsa_plain", text.encode())

    def fit(
        self, lines: Sequence[dict[str, Any]], steps: int, stop_after: int = 0,
        privacy: Sequence[float] | None = None, **hyper: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """The report of a fit, and as `told` the steps that its listener heard of.

        privacy: epsilon, delta and batch; without it the options are those of an older header.
        """
        told = "\n".join(map(json.dumps, lines))
        asked = {"lines": told, "steps": steps, "stop_after": stop_after, "privacy": privacy}
        made = self.ask("dsa_fit", **asked, hyper=hyper)
        return {**json.loads(made["text"]), "told": made["steps"]}
