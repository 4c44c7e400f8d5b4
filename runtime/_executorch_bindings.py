"""ExecuTorch's Python bindings, which bring torch with them: imported here and only here."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import EngineError, MissingDependencyError
from dsa_edge.kernels.executorch_pool import start_pool
from dsa_edge.kernels.library import library
from dsa_edge.manifest import ExecutorchInfo

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Bindings"]


class Bindings:
    """ExecuTorch with our ops, for programs of one bundle.

    threads: of ExecuTorch's pool, which all of a process share; None takes all cores.
    Raises MissingDependencyError without executorch, EngineError when an operator is missing or the
    programs were made for another version.
    """

    def __init__(self, info: ExecutorchInfo, threads: int | None) -> None:
        self._torch, self._module = _import()
        self.version = version("executorch")
        if self.version.split(".")[:2] != info.version.split(".")[:2]:
            raise EngineError(
                f"the programs were made by ExecuTorch {info.version}, installed is "
                f"{self.version}: install executorch {info.version} or export the bundle again."
            )
        library("dsa_executorch")  # registers our ops
        missing = set(info.operators) - set(self._module._get_operator_names())
        if missing:
            raise EngineError(
                f"ExecuTorch lacks the operator {', '.join(sorted(missing))}: run `dsa-edge doctor "
                "--build` for ours, or install an ExecuTorch built with it."
            )
        start_pool(self._module, threads)

    def load(self, program: Path, data: Path) -> Any:
        """A program with its weights, mapped from storage."""
        try:
            loaded = self._module._load_for_executorch(str(program), str(data))
            loaded.method_meta("forward")  # it reads the file only now
            return loaded
        except RuntimeError as error:
            raise EngineError(
                f"ExecuTorch {self.version} cannot load {program} ({error}): export the bundle "
                "again."
            ) from error

    def run(self, program: Any, given: list[NDArray[Any]], what: str) -> list[NDArray[Any]]:
        """Run a program on arrays."""
        tensors = [self._tensor(array) for array in given]
        try:
            outputs = program.forward(tensors)
        except RuntimeError as error:
            raise EngineError(
                f"ExecuTorch {self.version} failed in {what} on {len(given[0])} rows ({error}): "
                "pass fewer or shorter examples at a time, or lower memory_mb."
            ) from error
        return [output.numpy() for output in outputs]

    def _tensor(self, array: NDArray[Any]) -> Any:
        whole = np.ascontiguousarray(array)
        tensor = self._torch.from_numpy(whole if whole.flags.writeable else whole.copy())
        # numpy's strides of an empty array are not those that ExecuTorch expects.
        return tensor if array.size else self._torch.empty(array.shape, dtype=tensor.dtype)


def _import() -> tuple[ModuleType, ModuleType]:
    logging.disable(logging.WARNING)  # notes of torch's own optional parts
    try:
        import torch
        from executorch.extension.pybindings import portable_lib
    except ImportError as error:
        raise MissingDependencyError(
            "executorch", "executorch", "the ExecuTorch backend"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return torch, portable_lib
