"""`exact`: the gradient itself, from graphs that the bundle was exported with (`--gradients`).

    g = Σ_b ∂L_b/∂θ / B

The graphs are plain forward graphs that run a layer's derivative (`exporters/gradients.py`), on
ONNX Runtime alone. A scalar is a number of g, rounded so that a journal is a byte a number: to 8
bits of the largest in its slot, in steps of a power of two. θ moves by what was rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime.estimators._base import Space

__all__ = ["Exact"]

LEVELS = 127  # of a rounded number, on either side of zero


@dataclass(frozen=True, eq=False)
class Exact:
    """First order. `_exact.py` asks the engine for it."""

    hyper: Hyperparameters
    seed: int
    space: Space

    @property
    def width(self) -> int:
        """One scalar a number."""
        return self.space.size

    @property
    def lanes(self) -> int:
        """What a step costs in lanes: one for scores, one forwards, and one back, which is two."""
        return 4

    def scalars(self, gradient: Floats) -> Floats:
        """The gradient (n,) as it is journalled and applied; NaN where it is not finite."""
        rounded, at = np.empty_like(gradient), 0
        for shape in self.space.shapes:
            part = slice(at, at + math.prod(shape))
            largest = float(np.abs(gradient[part]).max())
            at = part.stop
            if not np.isfinite(largest):
                rounded[part] = np.nan
                continue
            step = np.float32(2.0 ** math.ceil(math.log2(largest / LEVELS))) if largest else 1
            rounded[part] = np.rint(gradient[part] / step) * step
        return rounded.astype(np.float32)

    def direction(self, scalars: Floats, step: int) -> Floats | None:
        """The scalars; None where any was lost."""
        return scalars if np.isfinite(scalars).all() else None

    def moved(self, theta: Floats, by: Floats, step: int) -> Floats:
        """θ − the step."""
        return theta - by
