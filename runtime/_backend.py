"""Which engine runs a bundle."""

from __future__ import annotations

from importlib.util import find_spec

from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError, UsageError
from dsa_edge.runtime._engine import Engine
from dsa_edge.runtime._executorch_engine import ExecutorchEngine
from dsa_edge.runtime._onnx_engine import OnnxEngine

__all__ = ["BACKENDS", "open_engine", "open_engines"]

BACKENDS = ("auto", "onnx", "executorch")


def open_engine(
    bundle: Bundle, backend: str, threads: int | None = None, layers_kept: int | None = None
) -> Engine:
    """The engine of that name; `auto` takes ONNX Runtime where bundle and machine have it.

    layers_kept: of ExecuTorch alone.
    Raises UsageError for an unknown name or a number below 1, BundleError when the bundle lacks
    what the backend runs.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} is unknown: use one of {', '.join(BACKENDS)}.")
    if layers_kept is not None and (layers_kept < 1 or backend != "executorch"):
        raise UsageError(
            f"layers_kept is {layers_kept} with backend {backend!r}, expected at least 1 with "
            "backend 'executorch': the other engine holds the whole base."
        )
    if backend == "executorch" or (backend == "auto" and not _onnx_runs(bundle)):
        return ExecutorchEngine(bundle, threads, layers_kept)
    if not bundle.manifest.methods:
        raise BundleError(
            f"{bundle.path} has no ONNX graphs: export it with `--backend onnx,executorch`, or use "
            "the ExecuTorch backend."
        )
    return OnnxEngine(bundle, threads)


def open_engines(bundle: Bundle) -> list[Engine]:
    """Every engine that a bundle was exported for, ONNX Runtime first.

    Raises MissingDependencyError when one of them is not installed.
    """
    found: list[Engine] = [OnnxEngine(bundle)] if bundle.manifest.methods else []
    return found if bundle.manifest.executorch is None else [*found, ExecutorchEngine(bundle)]


def _onnx_runs(bundle: Bundle) -> bool:
    """Whether ONNX Runtime can run it, or ExecuTorch cannot, whose error would mislead."""
    if bundle.manifest.executorch is None or find_spec("executorch") is None:
        return True
    return bool(bundle.manifest.methods) and find_spec("onnxruntime") is not None
