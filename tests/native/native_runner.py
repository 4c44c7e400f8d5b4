"""The native runner of runtime/native: built once into build/native, as library and program."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
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


class Open(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("store", ctypes.c_char_p), ("threads", ctypes.c_int32),
        ("skip_hashes", ctypes.c_int32), ("layers_kept", ctypes.c_int32),
        ("key", ctypes.c_void_p), ("key_context", ctypes.c_void_p),
    )  # fmt: skip


class Examples(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("lines", ctypes.c_char_p), ("path", ctypes.c_char_p),
        ("template_text", ctypes.c_char_p), ("labels", ctypes.c_void_p),
        ("label_count", ctypes.c_size_t),
    )  # fmt: skip


class Progress(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("phase", ctypes.c_int), ("done", ctypes.c_int64),
        ("total", ctypes.c_int64), ("loss", ctypes.c_double), ("held_out_loss", ctypes.c_double),
        ("held_out_accuracy", ctypes.c_double), ("seconds", ctypes.c_double),
        ("tokens", ctypes.c_int64), ("reason", ctypes.c_char_p),
    )  # fmt: skip


class Fit(ctypes.Structure):  # its beginning: what an app built against an older header has
    _fields_ = (
        ("size", ctypes.c_size_t), ("seconds", ctypes.c_double), ("steps", ctypes.c_int64),
        ("memory_mb", ctypes.c_double), ("disk_mb", ctypes.c_double),
        ("hyperparameters", ctypes.c_char_p), ("seed", ctypes.c_uint64),
    )  # fmt: skip


Listener = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(Progress))


class Library:
    """`libdsa_runner` and `dsa_runner` of a build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.c = ctypes.CDLL(str(folder / "libdsa_runner.so"))
        self.c.dsa_last_error.restype = ctypes.c_char_p
        self.c.dsa_free.argtypes = [ctypes.c_void_p]

    def check(self, status: int) -> None:
        if status:
            raise RunnerError(status, self.c.dsa_last_error().decode())

    def run(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """One command with --json; its answer, or {"error": …} where another code is expected."""
        command = [str(self.folder / "dsa_runner"), *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return {"error": done.stderr.strip()} if code else dict(json.loads(done.stdout))


class Runner:
    """A bundle that the library has opened."""

    def __init__(self, library: Library, bundle: Path, store: Path | None = None) -> None:
        self._library, self.c = library, library.c
        self._runner = ctypes.c_void_p()
        self._store = None if store is None else str(store).encode()
        options = Open(ctypes.sizeof(Open), self._store, 1, 0, 0, None, None)
        library.check(self.c.dsa_open(str(bundle).encode(), ctypes.byref(options), self._at()))

    def _at(self) -> Any:
        return ctypes.byref(self._runner)

    def close(self) -> None:
        self.c.dsa_close(self._runner)
        self._runner = ctypes.c_void_p()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def text(self, call: str, *given: Any) -> str:
        """What a call puts out as a text."""
        out = ctypes.c_void_p()
        self._library.check(getattr(self.c, call)(self._runner, *given, ctypes.byref(out)))
        made = ctypes.string_at(out.value or 0).decode()
        self.c.dsa_free(out)
        return made

    def tokens(self, prompt: str) -> list[int]:
        return list(json.loads(self.text("dsa_tokens", prompt.encode())))

    def plain(self, text: str) -> str:
        return self.text("dsa_plain", text.encode())

    def fit(
        self, lines: Sequence[dict[str, Any]], steps: int, listener: Any = None, **hyper: Any
    ) -> dict[str, Any]:
        told = "\n".join(map(json.dumps, lines)).encode()
        examples = Examples(ctypes.sizeof(Examples), told, None, None, None, 0)
        options = Fit(ctypes.sizeof(Fit), 0, steps, 0, 0, json.dumps(hyper).encode(), 0)
        listen = Listener(listener or (lambda context, progress: 0))
        given = ctypes.byref(examples), ctypes.byref(options), listen, None
        return dict(json.loads(self.text("dsa_fit", *given)))
