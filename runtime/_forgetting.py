"""What must go when examples are forgotten: all that may have learned from them.

What a damaged row said is not known, so it is taken to have been the worst that it could be.
"""

from __future__ import annotations

from collections.abc import Sequence

from dsa_edge.runtime._records import DAMAGED, Run, Version, parents_of

__all__ = ["learned_from"]


def learned_from(
    examples: set[str], runs: Sequence[Run], versions: Sequence[Version]
) -> tuple[set[int], set[int]]:
    """Ids of the versions that may have learned from some examples, and of the fits.

    A damaged fit may have used them, and made any version that no other fit did; a damaged version
    whose parent nothing tells may come from any.
    """
    used = [run for run in runs if run.verdict == DAMAGED or examples & set(run.examples)]
    gone = {run.version for run in used if run.version}
    parents = parents_of(versions, runs)
    if gone or used:
        gone |= {version for version, parent in parents.items() if parent is None}
    if any(run.seed is None for run in used):
        known = {run.version for run in runs} | {v.id for v in versions if v.verdict == "loaded"}
        gone |= set(parents) - known
    for version in sorted(parents):  # what comes from another has a higher id
        if parents[version] in gone:
            gone.add(version)
    fits = {run.id for run in used} | {run.id for run in runs if run.parent in gone}
    return gone, fits
