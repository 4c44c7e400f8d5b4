"""Estimators: gradients from forward passes, one file each with its maths.

A new one is a file, a line below, and its name in `_hyperparameters.ESTIMATORS`.
"""

from __future__ import annotations

from collections.abc import Callable

from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime.estimators._base import Probing, Served, Shapes, Space, slot_shapes
from dsa_edge.runtime.estimators.antithetic import Antithetic
from dsa_edge.runtime.estimators.axes import Axes
from dsa_edge.runtime.estimators.exact import Exact
from dsa_edge.runtime.estimators.lowrank import LowRank
from dsa_edge.runtime.estimators.mezo import Mezo
from dsa_edge.runtime.estimators.one_sided import OneSided
from dsa_edge.runtime.estimators.quzo import Quzo
from dsa_edge.runtime.estimators.sparse import Sparse, mask_of

__all__ = [
    "Exact", "Probing", "Served", "Shapes", "Space", "make_estimator", "mask_of", "slot_shapes"
]  # fmt: skip

MAKERS: dict[str, Callable[[Hyperparameters, int, Space], Exact | Probing]] = {
    "antithetic": Antithetic,
    "axes": Axes,
    "exact": Exact,
    "lowrank": LowRank,
    "mezo": Mezo,
    "one-sided": OneSided,
    "quzo": Quzo,
    "sparse": Sparse,
}


def make_estimator(hyper: Hyperparameters, seed: int, space: Space) -> Exact | Probing:
    """The estimator of a run; raises UsageError when it does not fit the adapter."""
    return MAKERS[hyper.estimator](hyper, seed, space)
