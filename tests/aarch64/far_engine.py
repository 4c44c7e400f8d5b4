"""ExecuTorch's engine with its programs elsewhere: `program_server` runs them on another processor.

What is here stays here: tables, caches, the zeroth-order step. So a probe, a fit or a generation
is that of the other processor's ExecuTorch, libraries and kernels.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.errors import EngineError
from dsa_edge.runtime._executorch_engine import ExecutorchEngine

# ExecuTorch's numbers of the types that programs take.
_TYPES = {
    4: np.dtype(np.int64),
    5: np.dtype(np.float16),
    6: np.dtype(np.float32),
    11: np.dtype(bool),
}
_NUMBERS = {dtype: number for number, dtype in _TYPES.items()}


class Far(NamedTuple):
    """A program as the server knows it."""

    program: Path
    data: Path


class FarBindings:
    """What `Bindings` is, with a server's process behind it."""

    version = "far"

    def __init__(self, command: Sequence[str | Path], environment: dict[str, str]) -> None:
        self._server = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip

    def load(self, program: Path, data: Path) -> Far:
        """Nothing yet: the server loads what it is asked to run."""
        return Far(program, data)

    def run(self, program: Far, given: list[NDArray[Any]], what: str) -> list[NDArray[Any]]:
        """Run a program on arrays; EngineError with what the server said where it fails."""
        parts = [_text(program.program), _text(program.data), _number(len(given))]
        self._write(b"".join(parts + [_tensor(array) for array in given]))
        error, count = self._read_number(), self._read_number()
        if error:
            raise EngineError(f"error {error} in {what}")
        return [self._read_tensor() for _ in range(count)]

    def close(self) -> str:
        """End the server, and return what it said on the way."""
        _, said = self._server.communicate()
        return said.decode(errors="replace")

    def __enter__(self) -> FarBindings:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        said = self.close()
        if error is not None:
            print(said)  # pytest shows it with the failure

    def _write(self, message: bytes) -> None:
        assert self._server.stdin is not None
        try:
            self._server.stdin.write(message)
            self._server.stdin.flush()
        except BrokenPipeError:
            pass  # reading will tell

    def _read(self, count: int) -> bytes:
        assert self._server.stdout is not None
        found = self._server.stdout.read(count)
        if len(found) < count:
            raise EngineError(f"the server ended with exit code {self._server.wait()}")
        return found

    def _read_number(self) -> int:
        return int(struct.unpack("<q", self._read(8))[0])

    def _read_tensor(self) -> NDArray[Any]:
        dtype = _TYPES[self._read_number()]
        shape = [self._read_number() for _ in range(self._read_number())]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return np.frombuffer(self._read(size), dtype).reshape(shape)


def far_engine(bundle: Path, bindings: FarBindings) -> ExecutorchEngine:
    """The engine of a bundle whose programs a server runs."""
    engine = ExecutorchEngine(Bundle.open(bundle))
    engine._bindings = bindings  # type: ignore[assignment]
    return engine


def _number(value: int) -> bytes:
    return struct.pack("<q", value)


def _text(path: Path) -> bytes:
    raw = str(path).encode()
    return _number(len(raw)) + raw


def _tensor(array: NDArray[Any]) -> bytes:
    head = [_NUMBERS[array.dtype], array.ndim, *array.shape]
    return b"".join(map(_number, head)) + np.ascontiguousarray(array).tobytes()
