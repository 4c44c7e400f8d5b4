"""The fits of `population.py`: one unseen user, one number of examples, one row."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsa_edge.adapter import Adapter
from dsa_edge.examples import Example
from dsa_edge.exporters.training.meta import MetaSettings
from dsa_edge.exporters.training.meta._host import Host, open_host
from dsa_edge.exporters.training.meta._inner import JUDGE, adapted, drawn
from dsa_edge.exporters.training.meta._prompts import Reader
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer, SharedBase
from dsa_edge.runtime._calibration import fit_bias

__all__ = ["FIRST_ORDER", "ROWS", "Cost", "first_order", "fitted"]

FIRST_ORDER = "first order from zero"
# name → (whether from the learned start, estimator, whether along directions); None takes no step
ROWS: dict[str, tuple[bool, str | None, bool]] = {
    "zero start": (False, None, False),
    "zero start, zeroth order": (False, "antithetic", False),
    "learned start": (True, None, False),
    "learned start, zeroth order": (True, "antithetic", False),
    "learned start, axes along directions": (True, "axes", True),
    "learned start, exact gradients": (True, "exact", False),
    "learned start, exact along directions": (True, "exact", True),
}


@dataclass(frozen=True)
class Cost:
    """What a fit may take: steps of zeroth order, of axes, and of gradients; directions a step.

    first_order_rate: of first order's Adam; None takes that of a fit by exact gradients.
    """

    zeroth: int
    axes: int
    gradients: int
    queries: int
    batch: int
    directions: int
    first_order_rate: float | None = None

    def of(self, estimator: str, along: int) -> tuple[Hyperparameters, int]:
        """The hyper-parameters and the steps of a row; rates are the runtime's own."""
        suited = Hyperparameters.suited(False, estimator, along=along)
        steps = {"axes": self.axes, "exact": self.gradients}.get(estimator, self.zeroth)
        queries = suited.queries if estimator == "axes" else self.queries
        batch = suited.batch if estimator == "exact" else self.batch
        return replace(suited, queries=queries, batch=batch), steps


def fitted(
    base: SharedBase, row: str, learn: Sequence[Example], held: Sequence[Example], cost: Cost,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """One row: nats a token on held-out examples along the fit, and what it took."""
    learned, estimator, along = ROWS[row]
    with tempfile.TemporaryDirectory() as store, base.user(store) as me:
        if not learned:
            me.use_adapter(Adapter(np.zeros_like(me.adapter.vector)))
        if estimator is None:
            return _curve(me, learn, held, [0], [me.adapter], 0.0, 0)
        there = me.bundle.manifest.start
        count = min(cost.directions, there.directions if there else 0) if along else 0
        hyper, steps = cost.of(estimator, count)
        began = time.perf_counter()
        report = me.fit(learn, Budget(steps=steps), hyperparameters=hyper, seed=seed)
        seconds = time.perf_counter() - began
        marks = marks_of(report.steps)
        made = _curve(me, learn, held, marks, me.replay(marks), seconds, report.tokens)
        kept = me.history()[-1].steps if report.verdict == "improved" else 0
        (kept_result,) = me.evaluate(held)
        user = Path(store) / "user.safetensors"
        me.use_adapter(me.replay([report.steps])[0])
        me.save_adapter(user, small=along)
        numbers = count or me.bundle.manifest.adapter_size
        return {
            **made, "verdict": report.verdict, "kept": kept, "kept_nats": kept_result.loss,
            "kept_accuracy": kept_result.accuracy,
            "bytes": 4 * numbers, "file_bytes": user.stat().st_size,
            "journal_bytes": 4 * (1 + _width(report.hyperparameters, numbers)) * report.steps,
        }  # fmt: skip


def first_order(
    base: SharedBase, learn: Sequence[Example], held: Sequence[Example], cost: Cost, seed: int,
    device: str,
) -> dict[str, Any]:  # fmt: skip
    """The line of 100 %: Adam on the same core from zero in torch, measured on the same engine."""
    prompts = Reader(_host(base.bundle.path, device)).prompts(learn)
    settings = MetaSettings(seed=seed, batch=min(16, len(learn)), examples=max(256, len(learn)))
    lots = drawn(len(prompts), cost.gradients, settings, JUDGE, 1, "0", query=0)
    marks = marks_of(cost.gradients)[1:]
    suited = Hyperparameters.suited(bool(learn[0].choices), "exact")
    rate = cost.first_order_rate or suited.rate
    began = time.perf_counter()
    zero = torch.zeros(prompts.size, device=device)
    found = adapted(prompts, zero, lots, rate, marks)
    seconds = time.perf_counter() - began
    adapters = [Adapter(point.cpu().numpy()) for point in (zero, *found.points)]
    with base.user(None) as me:
        tokens = 4 * cost.gradients * settings.batch
        return _curve(me, learn, held, [0, *marks], adapters, seconds, tokens)


@functools.cache
def _host(bundle: Path, device: str) -> Host:
    return open_host(bundle, None, None, device)


def marks_of(steps: int) -> list[int]:
    """Steps after which a fit is measured, 0 and the last among them."""
    return sorted({0, *(round(steps * share) for share in (0.1, 0.2, 0.35, 0.5, 0.75, 1.0))})


def _width(hyper: dict[str, Any], numbers: int) -> int:
    if hyper["estimator"] == "exact":
        return numbers
    return min(int(hyper["queries"]), numbers)


def _curve(
    me: Personalizer, learn: Sequence[Example], held: Sequence[Example], steps: list[int],
    adapters: Sequence[Adapter], seconds: float, tokens: int,
) -> dict[str, Any]:  # fmt: skip
    """Nats and accuracy along a fit. Labels' biases are those of what was learned from."""
    found = me.evaluate(held, _levelled(me, learn, adapters))
    nats, accuracy = [r.loss for r in found], [r.accuracy for r in found]
    told = {"accuracy": accuracy} if accuracy[0] is not None else {}
    return {"steps": steps, "nats": nats, **told, "seconds": seconds, "tokens": tokens}


def _levelled(
    me: Personalizer, learn: Sequence[Example], adapters: Sequence[Adapter]
) -> list[Adapter]:
    """Adapters with the label biases that suit the examples; as they are, of free responses."""
    objective = me._objective(me._encoder.encode_all(learn), Budget())
    if not objective.choices:
        return list(adapters)
    lanes = np.stack([adapter.vector for adapter in adapters])
    scores = objective.choice_scores(np.arange(len(learn)), lanes)
    each = [fit_bias(own, objective.answers) for own in scores]
    labels = [dict(zip(objective.choices, bias.tolist(), strict=True)) for bias in each]
    return [replace(a, labels=own) for a, own in zip(adapters, labels, strict=True)]
