"""For users of Hugging Face's Optimum: the export as its command, a bundle as one of its models.

optimum-cli export dsa-edge --model SmolLM2-135M-Instruct/ smol.dsa

from dsa_edge.optimum import DsaEdgeModelForCausalLM
model = DsaEdgeModelForCausalLM.from_pretrained("smol.dsa", store="me/")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsa_edge.optimum._model import DsaEdgeModelForCausalLM

__all__ = ["DsaEdgeModelForCausalLM"]


def __getattr__(name: str) -> object:
    """Load on first use: Optimum's program reads this package at each start."""
    if name in __all__:
        return getattr(import_module("dsa_edge.optimum._model"), name)
    raise AttributeError(f"module 'dsa_edge.optimum' has no attribute {name!r}")
