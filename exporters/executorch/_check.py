"""Does every program compute what its layer does? Each runs on ExecuTorch beside the torch module.

The torch modules round activations and weights as XNNPACK does, so what is left is the order of
float32 sums: a weight under a wrong name, or packed in another layout, differs by its whole size.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsa_edge.errors import ExportError
from dsa_edge.kernels.executorch_pool import start_pool
from dsa_edge.kernels.library import library, library_path
from dsa_edge.manifest import ProgramInfo

__all__ = ["TOLERANCE", "can_run", "check_program"]

TOLERANCE = 0.05  # of the outputs: an activation on the edge of two int8 levels may flip


def can_run() -> bool:
    """Whether this machine has the ops that the programs need."""
    return library_path("dsa_executorch") is not None


def check_program(
    folder: Path, entry: ProgramInfo, module: nn.Module, values: tuple[Tensor, ...]
) -> float:
    """Root mean square error of a program's outputs, as a share of their own root mean square.

    Raises ExportError when it is above `TOLERANCE` or ExecuTorch refuses the program.
    """
    with torch.no_grad():
        expected = list(_flat(module(*values)))
    found = _run(folder, entry, values)
    errors = [float((f - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True)]
    if not max(errors) <= TOLERANCE:
        raise ExportError(
            f"{entry.data} on {entry.program} differs from its layer by {max(errors):.2g} of its "
            f"outputs (tolerance {TOLERANCE}): this ExecuTorch packs weights in a way that "
            "this dsa-edge does not know; install executorch 1.5."
        )
    return max(errors)


def _run(folder: Path, entry: ProgramInfo, values: tuple[Tensor, ...]) -> list[Tensor]:
    from executorch.extension.pybindings import portable_lib

    library("dsa_executorch")
    start_pool(portable_lib)
    try:
        program: Any = portable_lib._load_for_executorch(
            str(folder / entry.program), str(folder / entry.data)
        )
        found: list[Tensor] = program.forward(list(values))
    except RuntimeError as error:
        raise ExportError(
            f"ExecuTorch cannot run {entry.program} with {entry.data} ({error}): please report it "
            "with this message."
        ) from error
    return found


def _flat(outputs: Tensor | tuple[Tensor, ...]) -> Iterator[Tensor]:
    yield from (outputs,) if isinstance(outputs, Tensor) else outputs
