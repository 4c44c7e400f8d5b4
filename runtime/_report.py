"""What `fit` and `evaluate` tell: verdict, learning curve, time, memory, bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dsa_edge.runtime._hyperparameters import Value
from dsa_edge.runtime._privacy import Spent

__all__ = ["Evaluation", "Progress", "Report"]


@dataclass(frozen=True)
class Progress:
    """One step of a fit.

    loss: mean over lanes and batch, nats. held_out_loss, held_out_accuracy: where measured.
    seconds: since the fit began; tokens: response tokens run so far, times lanes.
    memory_mb: resident memory of the process after it; None where that is not known.
    """

    step: int
    loss: float
    seconds: float
    tokens: int
    held_out_loss: float | None = None
    held_out_accuracy: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Results on a set of examples.

    loss: nats an example over its choices, or nats a token for free responses.
    accuracy: share of examples whose right choice wins; None without choices.
    """

    examples: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Report:
    """The outcome of one fit.

    verdict: `improved` (a new version is active), `no improvement` or `diverged` (the old one is).
    calibrated: the held-out examples with label biases alone, before any step; None if no choices.
    before, after: the held-out examples with the adapter that was, and that is now, active.
    routes: how many prompts each block of the adapter served; empty with one block, or in private.
    served_examples: for each block the first few of them, by their places among the examples given.
    evenness: entropy of the mean route, from 0 to 1 where blocks serve alike (`gate.py`).
    privacy: what the fit took of it; then before and after are noised, and the curve has no losses.
    """

    verdict: str
    version: int
    steps: int
    examples: int
    held_out: int
    before: Evaluation
    calibrated: Evaluation | None
    after: Evaluation
    fit_seconds: float
    prefill_seconds: float
    step_seconds: float  # median
    tokens: int
    peak_mb: float
    adapter_bytes: int
    adapter_size: int
    seed: int
    hyperparameters: dict[str, Value]
    privacy: Spent | None = None
    notes: tuple[str, ...] = ()
    routes: tuple[int, ...] = ()
    served_examples: tuple[tuple[int, ...], ...] = ()
    evenness: float | None = None
    curve: tuple[Progress, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
