"""The directions in which users differ: principal directions of their ways from the start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["principal"]

LEAST = 1e-6  # of the largest variance; directions below it are rounding


def principal(points: NDArray[np.float32], most: int) -> NDArray[np.float16]:
    """Directions (M, n) of points θ − φ (K, n), each one standard deviation long.

    Right singular vectors v_i of the points, times s_i / √K: a user of the population has
    coordinates of about 1 along each (EigenLoRAx has them of unit length). M is at most `most`, K
    and the rank. Signs are fixed: the largest entry is positive.
    """
    x = points.astype(np.float64)
    values, vectors = np.linalg.eigh(x @ x.T)  # of the small side: K is far below n
    order = np.argsort(-values, kind="stable")[:most]
    order = order[values[order] > LEAST * max(float(values.max(initial=0)), 0.0)]
    made = (x.T @ vectors[:, order]).T / np.sqrt(len(x))  # s_i v_i / √K
    largest = np.abs(made).argmax(1) if len(made) else np.zeros(0, np.int64)
    signs = np.sign(made[np.arange(len(made)), largest])
    return np.ascontiguousarray((made * signs[:, None]).astype(np.float16))
