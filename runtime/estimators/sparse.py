"""`sparse`: Gaussian directions on a fixed part of the numbers (Sparse-MeZO, SensZOQ).

    z_j ~ m ⊙ N(0, Iₙ)    c_j = (L(θ + εz_j) − L(θ − εz_j)) / 2ε    g = (1/q) Σ_j c_j z_j

g estimates m ⊙ ∇; for a linear loss E‖g − m⊙∇‖² = (|m| + 1)‖m⊙∇‖² / q: fewer numbers, less noise.
Which ones (m):

* `mask` given: any choice. `mask_of(sensitivity, share)` writes the share with the largest
  sensitivity, which SensZOQ takes as E[(∂L/∂θ)²] on other texts (2406.02913). Forward passes do not
  give it: it is measured where there are gradients, and shipped.
* otherwise, in each slot, the `share` of numbers that are smallest at the start: Sparse-MeZO
  perturbs |θ| ≤ h with a threshold h a layer (2402.15751). Equal ones are chosen by chance. An
  adapter starts at zero, where all are equal and magnitude means nothing: the mask is a random one.
  The paper means pre-trained weights; its claims say nothing of this case.

m comes from the start of the run, so both lanes of a pair see the same, and so does every step.

A scalar is c_j. z_j is `gaussians` of (seed, step, j) put at the chosen indices, lowest first.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from dsa_edge.errors import UsageError
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._random import MASK, PERTURB, gaussians, words
from dsa_edge.runtime.estimators._base import Pairs

__all__ = ["Sparse", "mask_of"]


def mask_of(sensitivity: Floats, share: float) -> str:
    """Hex of the bits, lowest first, of the share of numbers (n,) with the largest sensitivity."""
    if not (0 < share <= 1 and np.isfinite(sensitivity).all() and sensitivity.size):
        raise UsageError(
            f"a mask of share {share} of {sensitivity.size} sensitivities needs 0 < share ≤ 1 and "
            "finite numbers: correct them."
        )
    chosen = np.argsort(-sensitivity, kind="stable")[: math.ceil(share * sensitivity.size)]
    bits = np.zeros(sensitivity.size, dtype=np.uint8)
    bits[chosen] = 1
    return np.packbits(bits, bitorder="little").tobytes().hex()


class Sparse(Pairs):
    """Gaussian directions that are zero but for a fixed part."""

    def __post_init__(self) -> None:
        """Refuse a mask of another adapter."""
        if self.hyper.mask:
            self._given()

    @cached_property
    def chosen(self) -> Ints:
        """Indices of the numbers that are learned, lowest first."""
        return self._given() if self.hyper.mask else self._smallest()

    def probed(self, step: int, query: int) -> Floats:
        """Standard normal numbers where the mask is, zero elsewhere."""
        z = np.zeros(self.space.size, dtype=np.float32)
        z[self.chosen] = gaussians(self.seed, step, query, PERTURB, len(self.chosen))
        return z

    def _smallest(self) -> Ints:
        chance = words(self.seed, 0, 0, MASK, self.space.size)
        parts, first = [], 0
        for shape in self.space.shapes:
            part = slice(first, first := first + math.prod(shape))
            by_size = np.lexsort((chance[part], np.abs(self.space.start[part])))
            count = math.ceil(self.hyper.share * len(by_size))
            parts.append(np.sort(by_size[:count]) + part.start)
        return np.concatenate(parts).astype(np.int64)

    def _given(self) -> Ints:
        size = self.space.size
        try:
            raw = np.frombuffer(bytes.fromhex(self.hyper.mask), dtype=np.uint8)
        except ValueError:
            raw = np.empty(0, dtype=np.uint8)
        bits = np.unpackbits(raw, bitorder="little")
        if len(raw) != -(-size // 8) or not bits[:size].any() or bits[size:].any():
            raise UsageError(
                f"the mask has {len(raw)} bytes of hex, expected {-(-size // 8)} that choose some "
                f"of {size} numbers: make it with `mask_of` from this adapter's sensitivities."
            )
        return np.flatnonzero(bits).astype(np.int64)
