"""The learning curve over data: what fits on 32, 64, 128 … examples come to, with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dsa_edge.errors import UsageError
from dsa_edge.examples import Example
from dsa_edge.runtime._again import Again, parted
from dsa_edge.runtime._defaults import settled, usual_steps
from dsa_edge.runtime._random import order
from dsa_edge.runtime._report import Evaluation

__all__ = ["Point", "learning_curve"]

SUBSET = 2**37  # an epoch number that no run reaches
FIRST = 32  # examples; fewer are hardly ever asked about


@dataclass(frozen=True)
class Point:
    """One fit: how many examples it had, its seed, and how it did on examples that judge."""

    examples: int
    seed: int
    result: Evaluation


def learning_curve(
    me: Again,
    examples: Sequence[Example],
    sizes: Sequence[int] = (),
    seeds: int = 3,
    steps: int | None = None,
    seed: int = 0,
    on_point: Callable[[Point], object] | None = None,
) -> list[Point]:
    """Fit on subsets of the examples, all judged by the same others.

    sizes: by default 32, doubled until all that are not held back are used; a seed's smaller
    subsets are within its larger ones.
    Raises ExampleError for too few examples, UsageError for sizes that are not there.
    """
    part, manifest = parted(examples, seed), me.bundle.manifest
    chosen = sorted(set(sizes)) or sizes_up_to(len(part.learned))
    if seeds < 1 or chosen[0] < 2 or chosen[-1] > len(part.learned):
        raise UsageError(
            f"{seeds} seeds and sizes {chosen} were asked for, expected at least 1 seed and sizes "
            f"from 2 to {len(part.learned)}, which is what is left beside those that judge."
        )
    hyper = settled(manifest, part.choices, None)
    usual = steps or usual_steps(manifest, part.choices, None)
    points = []
    for size in chosen:
        for run in range(seeds):
            taken = order(seed + run, SUBSET, len(part.learned))[:size]
            some = replace(part, learned=tuple(part.learned[i] for i in taken))
            points.append(Point(size, run, me.judge(some, usual, hyper, seed + run)))
            if on_point:
                on_point(points[-1])
    return points


def sizes_up_to(count: int) -> list[int]:
    """32, doubled as often as possible, and all of them."""
    sizes = [FIRST * 2**i for i in range(40) if FIRST * 2**i <= count]
    return sizes if sizes and sizes[-1] > 0.75 * count else [*sizes, count]
