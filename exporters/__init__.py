"""The host side: checkpoint → decoder → quantize → subspace → graphs → verify → bundle.

from dsa_edge import export
export("SmolLM2-135M-Instruct/", "smol.dsa")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsa_edge.exporters._export import ExportReport, export
    from dsa_edge.exporters._verify import Check, verify
    from dsa_edge.exporters.training import Pruning

__all__ = ["Check", "ExportReport", "Pruning", "export", "verify"]

_HOME = {
    "Check": "_verify",
    "ExportReport": "_export",
    "Pruning": "training",
    "export": "_export",
    "verify": "_verify",
}


def __getattr__(name: str) -> object:
    """Load on first use, so that a look at one module does not import torch."""
    if name in _HOME:
        return getattr(import_module(f"dsa_edge.exporters.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dsa_edge.exporters' has no attribute {name!r}")
