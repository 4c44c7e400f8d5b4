"""A client's part of a round: a few steps of the real runtime, on examples that stay here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.errors import FederationError
from dsa_edge.examples import Example
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime.federated._round import Round
from dsa_edge.runtime.federated._update import Update, update_of
from dsa_edge.runtime.shared import SharedBase

__all__ = ["check_bundle", "local_update", "packed_start", "read_start"]


def check_bundle(manifest: Manifest, asked: Round) -> None:
    """Raises FederationError when a round is not about this bundle, or cannot be."""
    if asked.bundle != manifest.identity:
        raise FederationError(
            f"the round is about bundle {asked.bundle[:12]}…, this one is "
            f"{manifest.identity[:12]}…: server and clients need the same bundle."
        )
    if manifest.adapter.blocks > 1:
        raise FederationError(
            f"this bundle has {manifest.adapter.blocks} blocks, which every user's own gate "
            "orders differently: use one with a single block."
        )


def packed_start(start: Floats) -> bytes:
    """A start (n,) as it is sent: float16, for what that rounds away is less than a step."""
    return start.astype("<f2").tobytes()


def read_start(start: object, size: int) -> Floats:
    """The start (n,) of a request.

    Raises FederationError unless it is `size` finite numbers.
    """
    if not isinstance(start, bytes) or len(start) != 2 * size:
        got = f"{len(start)} bytes" if isinstance(start, bytes) else type(start).__name__
        raise FederationError(f"the start is {got}, expected {2 * size} bytes: correct the server.")
    numbers = np.frombuffer(start, dtype="<f2").astype(np.float32)
    if not np.isfinite(numbers).all():
        raise FederationError("the start holds numbers that are not finite: correct the server.")
    return numbers


def local_update(
    base: SharedBase, examples: Sequence[Example], start: Floats, asked: Round, node: int,
    budget: Budget | None = None,
) -> Update:  # fmt: skip
    """Learn from examples beginning at a start (n,), and return what that says of it.

    A user in memory learns: no store of a real one is read or changed.
    Raises FederationError when learning diverged, and what `fit` raises.
    """
    with base.user(None) as me:
        me.use_adapter(Adapter(start))
        report = me.fit(
            examples, replace(budget or Budget(), steps=asked.steps),
            hyperparameters=asked.hyper, seed=asked.seed_of(node),
        )  # fmt: skip
        if report.verdict == "diverged":
            raise FederationError("learning diverged from this start, so nothing is sent.")
        return update_of(me.journal(), asked)
