"""How a base came to its bits, where it was more than plain rounding: an entry of the manifest."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from dsa_edge.kinds import Geometry

__all__ = ["QuantizationInfo", "read_quantization"]

ROUNDINGS = ("nearest", "gptq")
GROUP = 32  # weights that share a scale, as in kernels/quantized_linear.py


@dataclass(frozen=True)
class QuantizationInfo:
    """What calibration was used for.

    rounding: `nearest` or `gptq`. weak_columns: last inputs of q, k, v, gate, up and down that are
    float16; channels of the residual stream and neurons are then in another order than in the
    checkpoint.
    calibration: sha256 of the tokens. tokens: how many.
    kept: linears whose stored bits stayed, of all `linears`.
    error: share of a linear's output energy that rounding costs on the calibration texts, and
    nearest the same by rounding to the nearest, means of all; None where it was not measured.
    """

    rounding: str
    weak_columns: int
    calibration: str
    tokens: int
    kept: int
    linears: int
    error: float | None = None
    nearest: float | None = None

    @property
    def key(self) -> list[object]:
        """What an identity depends on: all that decides the weights."""
        return [self.rounding, self.weak_columns, self.calibration]

    @property
    def text(self) -> str:
        """One line for people."""
        said = [f"{self.rounding} on {self.tokens} tokens"]
        if self.weak_columns:
            said.append(f"{self.weak_columns} weak columns in float16, channels reordered")
        if self.kept:
            said.append(f"stored bits kept in {self.kept} of {self.linears} linears")
        if self.error is not None and self.nearest is not None:
            said.append(
                f"{self.error:.2%} of the linears' outputs lost (to the nearest: "
                f"{self.nearest:.2%})"
            )
        return "; ".join(said)


def read_quantization(entry: Any, geometry: Geometry) -> QuantizationInfo | None:
    """That of a manifest; None where it has none. Raises ValueError, KeyError or TypeError."""
    if entry is None:
        return None
    made = QuantizationInfo(**entry)
    least = min(geometry.width, geometry.ffn_width)
    whole = (made.weak_columns, made.tokens, made.kept, made.linears)
    if any(type(number) is not int or number < 0 for number in whole):
        raise ValueError(f"numbers of the quantization are {whole!r}")
    if made.rounding not in ROUNDINGS or made.weak_columns % GROUP or made.weak_columns >= least:
        raise ValueError(f"quantization is {made.rounding!r}, {made.weak_columns} weak columns")
    if not re.fullmatch("[0-9a-f]{64}", made.calibration):
        raise ValueError(f"calibration is {made.calibration!r}")
    for share in (made.error, made.nearest):
        if share is not None and not (type(share) is float and math.isfinite(share)):
            raise ValueError(f"an error of the quantization is {share!r}")
    return made
