"""Rows of the store as values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dsa_edge.runtime._privacy import Spent

__all__ = ["Run", "Version", "spent_json", "spent_of"]


@dataclass(frozen=True)
class Version:
    """One saved adapter. id 0 is the bundle's initial adapter; created is in Unix seconds."""

    id: int
    parent: int
    created: float
    verdict: str
    steps: int
    active: bool
    summary: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One fit as the journal has it: version = adapter of `parent` after the first `kept` steps.

    verdict: None for a fit that was interrupted. examples: ids of those it could learn from.
    privacy: what it took of it, None for a fit without any.
    """

    id: int
    parent: int
    seed: int
    hyper: dict[str, float]
    version: int | None
    kept: int | None
    created: float | None = None
    verdict: str | None = None
    examples: tuple[str, ...] = ()
    privacy: Spent | None = None


def spent_json(spent: Spent | None) -> str | None:
    """A fit's privacy as the store keeps it."""
    return None if spent is None else json.dumps(asdict(spent))


def spent_of(text: str | None) -> Spent | None:
    """A fit's privacy as the store kept it."""
    return None if text is None else Spent(**json.loads(text))
