"""One fit: hold examples out, step, watch their loss, choose what to keep, give a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from dsa_edge.gate import Gate
from dsa_edge.runtime._calibration import REMEMBERED, Calibration, left_out
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._exact import exact_gradient
from dsa_edge.runtime._explorer import Explorer
from dsa_edge.runtime._looks import Look, Looks, mean_loss
from dsa_edge.runtime._memory import resident_mb
from dsa_edge.runtime._objective import Objective, Scores
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, update
from dsa_edge.runtime._pace import Pace
from dsa_edge.runtime._random import order
from dsa_edge.runtime._report import Evaluation, Progress
from dsa_edge.runtime.estimators import Exact, Probing, Served

__all__ = ["Outcome", "Trainer", "evaluation", "hold_out"]

HELD_OUT_SHARE, HELD_OUT_MOST = 0.125, 64  # of the examples; more would slow steps, not verdicts
CHECKS = 12  # times a run looks at the held-out examples
PATIENCE = 6  # looks in a row clearly worse than the best, after which a run ends early
DIVERGED = 2.0  # held-out loss over the one at the start, at which a run is stopped


@dataclass
class Outcome:
    """What a run came to: the best adapter (n,) after `kept` steps, and how it compares.

    bias: (K,) label biases that belong to it, None without choices.
    gate: that it learned, None where the gate stayed.
    before: held-out examples with the adapter that was active; calibrated: the same with label
    biases fitted; after: with the best adapter and its biases, or as before if nothing improved.
    """

    verdict: str
    adapter: Floats
    bias: Floats | None
    kept: int
    before: Evaluation
    calibrated: Evaluation
    after: Evaluation
    steps: int
    tokens: int
    step_seconds: float
    curve: list[Progress] = field(default_factory=list)
    gate: Gate | None = None


class Trainer:
    """Runs zeroth-order steps on an objective.

    train, held_out: example indices; where none can be held out they are the same.
    record: called with each step before the next begins. pace: the clock of the fit.
    explorer: learns the gate; None where it stays.
    """

    def __init__(
        self,
        objective: Objective,
        train: Ints,
        held_out: Ints,
        hyper: Hyperparameters,
        seed: int,
        record: Callable[[Step], None],
        on_step: Callable[[Progress], object],
        pace: Pace,
        explorer: Explorer | None = None,
    ) -> None:
        self.objective, self.train, self.held_out = objective, train, held_out
        self.hyper, self.seed = hyper, seed
        self._record, self._on_step, self._pace = record, on_step, pace
        self._tokens, self._explorer = 0, explorer
        self._gate_scalars: Floats = np.empty(0, dtype=np.float32)  # of the step in hand
        choices = len(objective.choices)
        self._calibration = Calibration(choices) if choices else None

    def run(self, adapter: Floats) -> Outcome:
        """Learn from `adapter` (n,) for as long as the pace allows."""
        state = State(adapter, shapes=self.objective.shapes, blocks=self.objective.blocks)
        before, old_bias = self._check(state), self.objective.bias
        reference, levelled = self._calibrate(adapter)
        start = self._check(state)
        looks = Looks(before, self._look(start, state), levelled)
        batches, curve, times = self._batches(), list[Progress](), list[float]()
        self._pace.begin()
        verdict = None
        for index in range(self._pace.steps):
            self._pace.pause()
            began = self._pace.elapsed()
            progress = self._pace.progress(index)
            if progress >= 1:
                break
            batch = next(batches)
            loss, losses = self._step(state, batch, progress)
            if self._is_new(index, len(batch)):
                looks.see(losses, reference[np.searchsorted(self.train, batch)])
            times.append(self._pace.elapsed() - began)
            event = Progress(
                state.step, loss, self._pace.elapsed(), self._tokens, memory_mb=resident_mb()
            )
            if self._due(index):
                scores = self._check(state)
                event = self._with(event, scores)
                if self.hyper.keep == 1 or state.step > self.hyper.keep_until:  # within its budget
                    looks.add(self._look(scores, state))
                if not mean_loss(scores) < max(DIVERGED * mean_loss(start), mean_loss(start) + 1):
                    verdict = "diverged"
            curve.append(event)
            self._on_step(event)
            if verdict or looks.worse >= PATIENCE:
                break
        kept = looks.verdict() if state.step else None
        if verdict or kept is None:
            kept, verdict = Look(before, adapter, 0, old_bias), verdict or "no improvement"
        return Outcome(
            verdict or "improved", kept.adapter, kept.bias, kept.kept,
            _summary(before), _summary(start), _summary(kept.scores), state.step, self._tokens,
            float(np.median(times)) if times else 0.0, curve, kept.gate,
        )  # fmt: skip

    def _look(self, scores: Scores, state: State) -> Look:
        gate = self._explorer.gate if self._explorer else None
        return Look(scores, state.theta, state.step, self.objective.bias, gate)

    def _calibrate(self, adapter: Floats) -> tuple[Floats, Floats]:
        """Fit the label biases of the adapter that the run starts from.

        Returns the losses (N,) of the training examples with them, and what each example gains by
        those that the others tell, none without choices.
        """
        self._tokens += self.objective.tokens(self.train)
        if self._calibration is None:
            return self.objective(self.train, adapter[None]).losses[0], np.empty(0, np.float32)
        raw = self.objective.choice_scores(self.train, adapter[None])
        answers = self.objective.answers[self.train]
        before = self.objective.scored(self.train, raw).losses[0]
        self._calibration.observe(raw[0], answers)
        self.objective.bias = self._calibration.bias
        recent = slice(-REMEMBERED, None)
        left = left_out(raw[0][recent], answers[recent], self._calibration.bias)
        gains = before[recent] - left
        return self.objective.scored(self.train, raw).losses[0], gains[np.isfinite(gains)]

    def _is_new(self, index: int, size: int) -> bool:
        """Whether a step's batch belongs to the second half of the first pass."""
        return len(self.train) / 2 <= index * size <= len(self.train) - size

    def _step(self, state: State, batch: Ints, progress: float) -> tuple[float, Floats]:
        """One zeroth-order step; returns the mean loss of its lanes, and each example's before."""
        estimator = state.estimator(self.seed, self.hyper)
        self._tokens += estimator.lanes * self.objective.tokens(batch)
        if isinstance(estimator, Exact):
            slopes, loss, losses = self._exact(batch, estimator, state.theta)
        else:
            blocks = estimator.blocks(state.theta, state.step)
            slopes, loss, losses = self._measure(batch, estimator, blocks, state.step)
        rate = float(np.float32(self.hyper.rate_at(progress)))
        self._record(Step(rate, np.concatenate([slopes, self._gate_scalars])))
        update(state, self.seed, self.hyper, Step(rate, slopes))
        if self._explorer is not None:
            self._explorer.move(self._gate_scalars, rate)
            # What chance sent elsewhere says nothing of how the example is answered.
            losses = np.where(self._explorer.usual, losses, np.nan)
        return loss, losses

    def _measure(
        self, batch: Ints, estimator: Probing, blocks: Iterator[Floats], step: int
    ) -> tuple[Floats, float, Floats]:
        """Scalars (width,), the mean loss of the lanes, and losses (B,) of what they surround."""
        if self._explorer is not None:
            blocks = self._explorer.lanes(batch, step, blocks)
        if self._calibration is None:
            losses = self.objective.losses(batch, blocks)
            slopes = estimator.from_losses(losses, self._served(batch))
            self._learn_gate(losses)
            return slopes, float(losses.mean()), losses.mean(0)
        raw = np.concatenate([self.objective.choice_scores(batch, block) for block in blocks])
        answers = self.objective.answers[batch]
        slopes = estimator.from_scores(self.objective.calibrated(raw), answers, self._served(batch))
        losses = self.objective.scored(batch, raw).losses
        loss = float(losses.mean())
        self._learn_gate(losses)
        whole = np.isfinite(raw).all((1, 2))
        centre = raw[whole if whole.any() else slice(None)].mean(0, keepdims=True)
        losses = self.objective.scored(batch, centre).losses[0]
        self._calibration.observe(centre[0], answers)
        self.objective.bias = self._calibration.bias
        return slopes, loss, losses

    def _served(self, batch: Ints) -> Served | None:
        """By which blocks, in every pair or in each."""
        return self.objective.served(batch) if self._explorer is None else self._explorer.served

    def _learn_gate(self, losses: Floats) -> None:
        """Take from the losses (L, B) of all lanes what they say of the routes."""
        if self._explorer is not None:
            self._gate_scalars = self._explorer.scalars(losses)

    def _exact(self, batch: Ints, estimator: Exact, theta: Floats) -> tuple[Floats, float, Floats]:
        """The same from a gradient."""
        smoothing = self.hyper.smoothing
        gradient, losses, raw = exact_gradient(self.objective, batch, theta, smoothing)
        if self._calibration is not None and raw is not None:
            self._calibration.observe(raw[0], self.objective.answers[batch])
            self.objective.bias = self._calibration.bias
        return estimator.scalars(gradient), float(losses.mean()), losses

    def _check(self, state: State) -> Scores:
        if self._explorer is not None:
            self._explorer.settle()
        self._tokens += self.objective.tokens(self.held_out)
        return self.objective(self.held_out, state.theta[None])

    def _with(self, event: Progress, scores: Scores) -> Progress:
        result = _summary(scores)
        return replace(
            event,
            seconds=self._pace.elapsed(),
            tokens=self._tokens,
            held_out_loss=result.loss,
            held_out_accuracy=result.accuracy,
        )

    def _due(self, index: int) -> bool:
        """Whether to look at the held-out examples after a step."""
        last = index + 1 == self._pace.steps or self._pace.progress(index + 1) >= 1
        return last or (index + 1) % max(1, self._pace.steps // CHECKS) == 0

    def first_batch(self) -> Ints:
        """The examples of the first step."""
        return next(self._batches())

    def _batches(self) -> Iterator[Ints]:
        """Shuffled passes over the training examples; fewer than a batch are all used."""
        size, epoch = min(self.hyper.batch, len(self.train)), 0
        while True:
            shuffled = self._shuffled(epoch)
            for start in range(0, len(shuffled) - size + 1, size):
                yield shuffled[start : start + size]
            epoch += 1

    def _shuffled(self, epoch: int) -> Ints:
        """The training examples in random order, every stretch with each label's share."""
        shuffled = self.train[order(self.seed, epoch, len(self.train))]
        if self._calibration is None:
            return shuffled
        answers = self.objective.answers[shuffled]
        place = np.empty(len(shuffled))
        for answer in np.unique(answers):
            same = answers == answer
            place[same] = (np.arange(same.sum()) + 0.5) / same.sum()
        return shuffled[np.argsort(place, kind="stable")]


def hold_out(count: int, seed: int) -> tuple[Ints, Ints]:
    """Split example indices into training and held-out ones; too few are used for both."""
    shuffled = order(seed, 2**32, count)  # an epoch number that no run reaches
    held = min(int(count * HELD_OUT_SHARE), HELD_OUT_MOST)
    if held < 2:
        return np.sort(shuffled), np.sort(shuffled)
    return np.sort(shuffled[held:]), np.sort(shuffled[:held])


def evaluation(losses: Floats, right: Floats) -> Evaluation:
    """Means over examples: losses (B,) in nats, right (B,) with NaN where there are no choices."""
    known = right[~np.isnan(right)]
    accuracy = float(known.mean()) if known.size else None
    return Evaluation(len(losses), float(losses.astype(np.float64).mean()), accuracy)


def _summary(scores: Scores) -> Evaluation:
    return evaluation(scores.losses[0], scores.right[0])
