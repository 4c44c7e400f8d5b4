"""Fewer bits than plain rounding needs: calibrated rounding, and weak columns kept in 16 bits.

A recipe wraps a checkpoint: what it gives is a source of weights like any other, with its linears
already in their final bits.
"""

from dsa_edge.exporters.quantization._gptq import gptq
from dsa_edge.exporters.quantization._order import Orders, Reordered, swapped
from dsa_edge.exporters.quantization._recipe import METHODS, Recipe
from dsa_edge.exporters.quantization._regroup import regrouped
from dsa_edge.exporters.quantization._texts import calibration_rows

__all__ = [
    "METHODS",
    "Orders",
    "Recipe",
    "Reordered",
    "calibration_rows",
    "gptq",
    "regrouped",
    "swapped",
]
