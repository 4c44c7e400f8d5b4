"""`tune`: search for the settings of a fit, most of them given up after a fifth of it (2407.13906).

Every trial is a real fit from the initial adapter with the same forward tokens, judged on examples
that it did not see: more queries or a larger batch mean fewer steps. Successive halving
(1810.05934) ends a trial at 20 and at 60 % of its steps unless the loss on what the fit itself
holds out is among the best third so far; where to look next is TPE's choice, both by Optuna. The
first trial is what fits do now; the best one replaces it only if it also wins with other seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.defaults import Defaults
from dsa_edge.errors import MissingDependencyError, UsageError
from dsa_edge.examples import Example
from dsa_edge.runtime._again import Again, Parted, parted
from dsa_edge.runtime._defaults import proposed, settled, usual_steps
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._report import Evaluation, Progress

__all__ = ["Trial", "Tuned", "tune"]

RUNG, KEEP_ONE_IN = 20, 3  # percent of a fit at which the first trials end; of those, who goes on
QUERIES, BATCH = (4, 8, 16, 32), (8, 16, 32)
SPAN = 10.0  # rate and radius are searched from a tenth to ten times what suits
CONFIRMED = 2  # seeds besides the search's own
LEAST_STEPS = 10


@dataclass(frozen=True)
class Trial:
    """One fit of a search: its settings, how far it went, and its loss there in nats.

    percent: of its steps; below 100 the loss is that on what the fit held out.
    """

    number: int
    settings: Defaults
    percent: int
    loss: float


@dataclass(frozen=True)
class Tuned:
    """What a search came to.

    base: the initial adapter; present, found: mean loss of the settings that fits take now, and of
    the best ones, over `CONFIRMED` further seeds, on the examples that judge. better: whether the
    best ones won there; then `defaults` are those, else those that the bundle had.
    """

    base: Evaluation
    present: float
    found: float
    better: bool
    defaults: Defaults
    trials: tuple[Trial, ...]


def tune(
    me: Again,
    examples: Sequence[Example],
    trials: int = 30,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    study: str | Path | None = None,
    on_trial: Callable[[Trial], object] | None = None,
) -> Tuned:
    """Search for the rate, radius, queries and batch that learn best from examples like these.

    trials: of the search, those that `study` already has among them. steps: of a fit as it is now,
    by default the bundle's; seconds: of the search alone, four fits that confirm come after it.
    study: an SQLite file to go on from, and to keep the trials in.
    Raises ExampleError, UsageError, or MissingDependencyError where Optuna is not installed.
    """
    if trials < 2 or (seconds is not None and not seconds > 0) or (steps is not None and steps < 1):
        raise UsageError(
            f"{trials} trials, {steps} steps and {seconds} seconds were asked for, expected at "
            "least 2 trials, a step and a positive time."
        )
    part, manifest = parted(examples, seed), me.bundle.manifest
    start = settled(manifest, part.choices, None)
    usual = steps or usual_steps(manifest, part.choices, None)
    search = _Search(me, part, start, usual, seed, on_trial or (lambda _: None))
    base = me.untaught(part)
    best = search.run(trials, seconds, study)
    present, found = (search.confirm(s) for s in (_settings(start, usual), best))
    better = found < present
    had = proposed(manifest, part.choices)
    chosen = replace(best, curve=had.curve) if better else had
    return Tuned(base, present, found, better, chosen, tuple(search.trials))


class _Search:
    def __init__(
        self, me: Again, part: Parted, start: Hyperparameters, steps: int, seed: int,
        on_trial: Callable[[Trial], object],
    ) -> None:  # fmt: skip
        self._me, self._part, self._start, self._steps = me, part, start, steps
        self._seed, self._on_trial = seed, on_trial
        self.trials: list[Trial] = []

    def run(self, trials: int, seconds: float | None, file: str | Path | None) -> Defaults:
        """Run the trials that are missing; the best settings of all."""
        optuna = _optuna()
        study = self._opened(optuna, file)
        done = [t for t in study.trials if t.state.is_finished() and t.values]
        self.trials = [self._told(trial) for trial in done]
        if not study.trials:
            first = {name: getattr(self._start, name) for name in ("rate", "epsilon")}
            study.enqueue_trial(
                {**first, "queries": self._start.queries, "batch": self._start.batch}
            )
        if len(done) < trials:
            study.optimize(self._trial, trials - len(done), seconds, callbacks=[self._tell])
        if not any(trial.percent == 100 for trial in self.trials):
            raise UsageError(
                f"no trial was finished in {seconds} seconds: allow more time, or fewer steps."
            )
        best = min((t for t in self.trials if t.percent == 100), key=lambda t: t.loss)
        return best.settings

    def confirm(self, settings: Defaults) -> float:
        """Mean loss over seeds that the search did not use."""
        return float(np.mean([
            self._judged(settings, self._seed + 1 + i) for i in range(CONFIRMED)
        ]))  # fmt: skip

    def _trial(self, trial: Any) -> float:
        import optuna

        def on_step(event: Progress) -> None:
            percent = 100 * event.step // (settings.steps or 1)
            if event.held_out_loss is not None and RUNG <= percent < 100:
                trial.report(event.held_out_loss, percent)
                if trial.should_prune():
                    raise optuna.TrialPruned

        settings = self._suggested(trial)
        return self._judged(settings, self._seed, on_step)

    def _judged(
        self, settings: Defaults, seed: int, on_step: Callable[[Progress], object] = lambda _: None
    ) -> float:
        hyper = replace(self._start, **settings.settings)
        steps = settings.steps or self._steps
        return self._me.judge(self._part, steps, hyper, seed, on_step).loss

    def _suggested(self, trial: Any) -> Defaults:
        def near(name: str) -> float:
            usual = getattr(self._start, name)
            return float(trial.suggest_float(name, usual / SPAN, usual * SPAN, log=True))

        rate, epsilon = near("rate"), near("epsilon")
        queries = trial.suggest_categorical("queries", sorted({*QUERIES, self._start.queries}))
        batch = trial.suggest_categorical("batch", sorted({*BATCH, self._start.batch}))
        return self._made(rate, epsilon, queries, batch)

    def _made(self, rate: float, epsilon: float, queries: int, batch: int) -> Defaults:
        """Settings with as many steps as run the forward tokens of a fit as it is now."""
        usual = self._steps * self._start.lanes * self._start.batch
        lanes = replace(self._start, queries=queries).lanes
        steps = max(LEAST_STEPS, round(usual / (lanes * batch)))
        return Defaults(float(rate), float(epsilon), int(queries), int(batch), steps)

    def _tell(self, _: Any, trial: Any) -> None:
        if trial.values:
            self.trials.append(self._told(trial))
            self._on_trial(self.trials[-1])

    def _told(self, trial: Any) -> Trial:
        pruned = trial.state.name == "PRUNED"
        percent = max(trial.intermediate_values, default=0) if pruned else 100
        return Trial(trial.number, self._made(**trial.params), percent, float(trial.value))

    def _opened(self, optuna: Any, file: str | Path | None) -> Any:
        """The study of a file, if it is of this search, or a new one in memory."""
        what = {
            "bundle": self._me.bundle.identity,
            "data": _digest(self._part),
            "start": asdict(_settings(self._start, self._steps)),
            "seed": self._seed,
        }
        try:
            study = optuna.create_study(
                storage=None if file is None else f"sqlite:///{Path(file).resolve()}",
                pruner=optuna.pruners.SuccessiveHalvingPruner(RUNG, KEEP_ONE_IN),
                study_name="dsa-edge tune",
                load_if_exists=True,
            )
            had = study.user_attrs.get("of")
        except Exception as error:  # whatever SQLAlchemy and Optuna think of a file
            raise UsageError(
                f"{file} is no study that can be gone on with ({type(error).__name__}): give "
                "another file, or delete it."
            ) from error
        if had is not None and had != json.loads(json.dumps(what)):
            raise UsageError(
                f"{file} is a search with another bundle, data, seed or number of steps: give "
                "another file, or search as before."
            )
        study.set_user_attr("of", what)
        study.sampler = optuna.samplers.TPESampler(seed=self._seed + len(study.trials))
        return study


def _settings(hyper: Hyperparameters, steps: int) -> Defaults:
    return Defaults(hyper.rate, hyper.epsilon, hyper.queries, hyper.batch, steps)


def _digest(part: Parted) -> str:
    """Tells other examples apart, and nothing about them."""
    return hashlib.sha256(json.dumps(asdict(part), sort_keys=True).encode()).hexdigest()[:16]


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingDependencyError("optuna", "tune", "the search for settings") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
