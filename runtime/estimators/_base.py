"""What every estimator says and does: which lanes to run, what scalars they give, and the way back.

A step: `blocks` of lanes are run; `from_losses` or `from_scores` makes scalars of the results; they
are journalled; `direction` makes a gradient of them, in a fit and in a replay alike; `moved` takes
the optimizer's step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dsa_edge.manifest import Manifest
from dsa_edge.runtime._calibration import central, centred_slopes
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters

__all__ = ["Doubles", "Estimator", "Pairs", "Probing", "Shapes", "Space", "batched", "slot_shapes"]

Doubles = NDArray[np.float64]
Shapes = tuple[tuple[int, ...], ...]  # of the slots of an adapter, one after the other
BLOCK = 2**24  # bytes of lanes that are made at a time


@dataclass(frozen=True, eq=False)
class Space:
    """Where a run begins, and what its numbers are.

    start: the adapter (n,) before the first step. shapes: of its slots, one after the other; none
    is one vector.
    """

    start: Floats
    shapes: Shapes = ()

    def __post_init__(self) -> None:
        """Without shapes, all is one vector."""
        shapes = self.shapes or ((self.start.size,),)
        if sum(math.prod(shape) for shape in shapes) != self.start.size:
            raise ValueError(f"slots of shapes {shapes} in an adapter of {self.start.size} numbers")
        object.__setattr__(self, "shapes", shapes)

    @property
    def size(self) -> int:
        """Numbers in the adapter, n."""
        return self.start.size


def slot_shapes(manifest: Manifest) -> Shapes:
    """Shapes of the slots of a bundle's adapter."""
    return tuple(slot.shape for slot in manifest.slots)


class Estimator(Protocol):
    """Scalars of a step, and the way back from them to a gradient.

    A scalar that is NaN was lost.
    """

    @property
    def width(self) -> int:
        """Scalars of a step, which is what the journal holds."""
        ...

    @property
    def lanes(self) -> int:
        """Lanes that a step costs."""
        ...

    def direction(self, scalars: Floats, step: int) -> Floats | None:
        """The gradient (n,) that scalars (width,) stand for; None where all were lost."""
        ...

    def moved(self, theta: Floats, by: Floats, step: int) -> Floats:
        """θ (n,) after the optimizer's step."""
        ...


class Probing(Estimator, Protocol):
    """Gradients from losses of lanes alone."""

    def blocks(self, theta: Floats, step: int) -> Iterator[Floats]:
        """The lanes (L, n) of a step from θ (n,), as many at a time as memory and method allow."""
        ...

    def slopes(self, values: Doubles, epsilon: float) -> Doubles:
        """What values (L, …) of all lanes change by along each direction, (width, …)."""
        ...

    def from_losses(self, losses: Floats) -> Floats:
        """Scalars (width,) from losses (L, B)."""
        ...

    def from_scores(self, scores: Floats, answers: Ints) -> Floats:
        """Scalars (width,) from calibrated log-scores (L, B, K) and the answers (B,)."""
        ...


@dataclass(frozen=True, eq=False)
class Pairs:
    """Central differences along directions of its own: c_j = (L(θ + εz_j) − L(θ − εz_j)) / 2ε.

    g = mean_j c_j z'_j with `probed` z_j and `returned` z'_j, E[z' zᵀ] = I.
    """

    hyper: Hyperparameters
    seed: int
    space: Space

    def __post_init__(self) -> None:
        """Refuse an adapter that an estimator cannot work on; most can on any."""

    @property
    def width(self) -> int:
        """One scalar a direction."""
        return self.hyper.queries

    @property
    def lanes(self) -> int:
        """Two for a direction."""
        return 2 * self.width

    def probed(self, step: int, query: int) -> Floats:
        """The direction z (n,) of a query."""
        raise NotImplementedError

    def returned(self, step: int, query: int) -> Floats:
        """What a scalar is multiplied with, z' (n,)."""
        return self.probed(step, query)

    def blocks(self, theta: Floats, step: int) -> Iterator[Floats]:
        """θ + εz_0, θ − εz_0, θ + εz_1, …"""
        return batched(self._rows(theta, step), theta.size)

    def _rows(self, theta: Floats, step: int) -> Iterator[Floats]:
        for query in range(self.width):
            shift = np.float32(self.hyper.epsilon) * self.probed(step, query)
            yield theta + shift
            yield theta - shift

    def slopes(self, values: Doubles, epsilon: float) -> Doubles:
        """Central differences."""
        return central(values, epsilon)

    def from_losses(self, losses: Floats) -> Floats:
        """Of the batch's mean loss."""
        with np.errstate(invalid="ignore"):
            slopes = self.slopes(losses.astype(np.float64).mean(1), self.hyper.epsilon)
        return self.scalars(np.where(np.isfinite(slopes), slopes, np.nan))

    def from_scores(self, scores: Floats, answers: Ints) -> Floats:
        """Of the loss beside what the label biases explain."""
        epsilon, smoothing = self.hyper.epsilon, self.hyper.smoothing
        return self.scalars(centred_slopes(scores, answers, epsilon, smoothing, self.slopes))

    def scalars(self, slopes: Doubles | Floats) -> Floats:
        """What is journalled of slopes (width,)."""
        return slopes.astype(np.float32)

    def direction(self, scalars: Floats, step: int) -> Floats | None:
        """The mean over the directions that were not lost."""
        usable = np.isfinite(scalars)
        if not usable.any():
            return None
        total = self.total(np.where(usable, scalars, np.float32(0)), step)
        return total / np.float32(usable.sum())

    def total(self, scalars: Floats, step: int) -> Floats:
        """Σ_j c_j z'_j in float32, query by query."""
        total = np.zeros(self.space.size, dtype=np.float32)
        for query in np.flatnonzero(scalars):
            total += scalars[query] * self.returned(step, int(query))
        return total

    def moved(self, theta: Floats, by: Floats, step: int) -> Floats:
        """θ − the step."""
        return theta - by


def batched(rows: Iterator[Floats], size: int, most: int | None = None) -> Iterator[Floats]:
    """Lanes (n,) as blocks (L, n): even numbers of them, at most `most` if it is given."""
    count = most or 2 * max(1, BLOCK // (8 * size))
    while block := list(islice(rows, count)):
        yield np.stack(block)
