"""One fit under differential privacy: whatever leaves it has been clipped and noised.

It differs from `Trainer` where that one reads examples freely: batches are drawn by chance, label
biases follow noised residuals, nothing is looked at on the way, and the verdict is noised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsa_edge.runtime._calibration import softmax
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._memory import resident_mb
from dsa_edge.runtime._objective import Objective, Scores
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, lanes, update
from dsa_edge.runtime._pace import Pace
from dsa_edge.runtime._privacy import Doubles, Mechanism, noisy_sums
from dsa_edge.runtime._report import Evaluation, Progress
from dsa_edge.runtime._trainer import Outcome

__all__ = ["PrivateTrainer"]

NAN = float("nan")
MOST_NATS = 2.0  # to which a held-out example's loss is clipped in the verdict
SETTLED = 0.1  # least step of the bias towards what its residuals say; 1 would be a Newton step


@dataclass
class PrivateTrainer:
    """Runs noised zeroth-order steps on an objective.

    train, held_out: example indices, told apart by the examples alone. verdict: ε of the verdict.
    record: called with each step before the next begins. pace: the clock of the fit.
    """

    objective: Objective
    train: Ints
    held_out: Ints
    hyper: Hyperparameters
    mechanism: Mechanism
    verdict: float
    seed: int
    record: Callable[[Step], None]
    on_step: Callable[[Progress], object]
    pace: Pace

    def __post_init__(self) -> None:
        """Nothing was run yet."""
        self._tokens = 0

    def run(self, adapter: Floats) -> Outcome:
        """Learn from `adapter` (n,) for as long as the pace allows."""
        state, curve, times = State(adapter), list[Progress](), list[float]()
        old_bias = self.objective.bias
        self.pace.begin()
        for index in range(self.pace.steps):
            self.pace.pause()
            began = self.pace.elapsed()
            progress = self.pace.progress(index)
            if progress >= 1:
                break
            self._step(state, progress)
            times.append(self.pace.elapsed() - began)
            elapsed, used = self.pace.elapsed(), resident_mb()
            curve.append(Progress(state.step, NAN, elapsed, self._tokens, memory_mb=used))
            self.on_step(curve[-1])
        bias = self.objective.bias
        before, after, gained = self._judge(adapter, old_bias, state.theta, bias)
        kept = gained and state.step > 0
        return Outcome(
            "improved" if kept else "no improvement",
            state.theta if kept else adapter, bias if kept else old_bias,
            state.step if kept else 0, before, before, after if kept else before,
            state.step, self._tokens, float(np.median(times)) if times else 0.0, curve,
        )  # fmt: skip

    def _step(self, state: State, progress: float) -> None:
        copies = lanes(state, self.seed, self.hyper)
        batch = self.train[self.mechanism.sample(len(self.train))]
        self._tokens += len(copies) * self.objective.tokens(batch)
        slopes = self._measure(batch, copies, state.step)
        step = Step(float(np.float32(self.hyper.rate_at(progress))), slopes)
        self.record(step)
        update(state, self.seed, self.hyper, step)

    def _measure(self, batch: Ints, copies: Floats, index: int) -> Floats:
        """Noised scalars c (q,) of lanes (2q, n)."""
        queries = self.hyper.queries
        if len(self.objective.sets) > 1 or not self.objective.choices:
            losses = self._losses(batch, copies)
            change = (losses[0::2] - losses[1::2]) / (2 * self.hyper.epsilon)
            return self.mechanism.slopes(_finite(change.T), centred=False)
        raw = self._scores(batch, copies)
        residual = self._residuals(batch, raw)
        centre = self.mechanism.centre(residual)
        self._move_bias(centre, index)
        change = (raw[0::2] - raw[1::2]) / (2 * self.hyper.epsilon)  # (q, B, K)
        slopes = ((residual - centre) * change).sum(-1).T.reshape(-1, queries)
        return self.mechanism.slopes(_finite(slopes), centred=True)

    def _residuals(self, batch: Ints, raw: Doubles) -> Doubles:
        """Prediction less target (B, K); the prediction is the mean of the lanes' (2q, B, K)."""
        assert self.objective.bias is not None
        smoothing = self.hyper.smoothing
        residual = softmax(_finite(raw) + self.objective.bias).mean(0)
        residual[np.arange(len(batch)), self.objective.answers[batch]] -= 1 - smoothing
        return np.asarray(residual - smoothing / residual.shape[1])

    def _move_bias(self, centre: Doubles, index: int) -> None:
        """Towards residuals of mean 0 (Robbins and Monro 1951); ½ bounds the curvature."""
        assert self.objective.bias is not None
        moved = self.objective.bias - 2 * max(1 / (index + 1), SETTLED) * (centre - centre.mean())
        self.objective.bias = np.asarray(moved, dtype=np.float32)

    def _scores(self, batch: Ints, copies: Floats) -> Doubles:
        if not batch.size:
            return np.zeros((len(copies), 0, len(self.objective.choices)))
        return self.objective.choice_scores(batch, copies).astype(np.float64)

    def _losses(self, batch: Ints, copies: Floats) -> Doubles:
        if not batch.size:
            return np.zeros((len(copies), 0))
        return self.objective(batch, copies).losses.astype(np.float64)

    def _judge(
        self, old: Floats, old_bias: Floats | None, new: Floats, new_bias: Floats | None
    ) -> tuple[Evaluation, Evaluation, bool]:
        """Noised results on the held-out examples before and after, and whether they are better."""
        before, after = self._held_out(old, old_bias), self._held_out(new, new_bias)
        self.objective.bias = new_bias
        gains = before.losses[0] - after.losses[0]
        columns = [before.losses[0], after.losses[0], before.right[0], after.right[0]]
        values = _finite(np.stack([gains, *columns], 1).astype(np.float64))
        # Half of ε for what decides: its column stands for four others.
        bounds = np.array([1.0, MOST_NATS, MOST_NATS, 1.0, 1.0])
        gain = noisy_sums(values[:, :1], bounds[:1], self.verdict / 2, self.mechanism.source)[0]
        sums = noisy_sums(values[:, 1:], bounds[1:], self.verdict / 2, self.mechanism.source)
        means = sums / max(1, len(self.held_out))
        accuracy = [float(np.clip(m, 0, 1)) if self.objective.choices else None for m in means[2:]]
        results = [Evaluation(len(self.held_out), float(means[i]), accuracy[i]) for i in (0, 1)]
        return results[0], results[1], bool(gain > 0)

    def _held_out(self, adapter: Floats, bias: Floats | None) -> Scores:
        self.objective.bias = bias
        self._tokens += self.objective.tokens(self.held_out)
        return self.objective(self.held_out, adapter[None])


def _finite(values: Doubles) -> Doubles:
    """Without NaN and infinities, which would show whatever the noise."""
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
