"""The host side: checkpoint → decoder → quantize → subspace → graphs → verify → bundle.

from dsa_edge import export
export("SmolLM2-135M-Instruct/", "smol.dsa")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsa_edge.exporters._export import ExportReport, export
    from dsa_edge.exporters.verify import Check, verify

__all__ = ["Check", "ExportReport", "export", "verify"]


def __getattr__(name: str) -> object:
    """Load on first use, so that a look at one module does not import torch."""
    if name in ("ExportReport", "export"):
        from dsa_edge.exporters import _export

        return getattr(_export, name)
    if name in ("Check", "verify"):
        from importlib import import_module

        return getattr(import_module("dsa_edge.exporters.verify"), name)
    raise AttributeError(f"module 'dsa_edge.exporters' has no attribute {name!r}")
