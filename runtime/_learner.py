"""Learning: a fit from its examples to its verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from dsa_edge.adapter import Adapter
from dsa_edge.errors import UsageError
from dsa_edge.examples import Example
from dsa_edge.gate import Gate, evenness, route_notes
from dsa_edge.runtime._allocation import check_budget
from dsa_edge.runtime._cache import cache_size, largest_item
from dsa_edge.runtime._conditions import Conditions, Device, waiting
from dsa_edge.runtime._course import Course, OpenCourse, PrivateCourse
from dsa_edge.runtime._defaults import of_curve, settled, usual_steps
from dsa_edge.runtime._encode import Encoded, learnable
from dsa_edge.runtime._learned_gate import gate_width, record_bytes
from dsa_edge.runtime._measured import Measured
from dsa_edge.runtime._memory import peak_mb
from dsa_edge.runtime._notes import late, of_allocation, of_attention, of_circumstances, of_method
from dsa_edge.runtime._objective import Objective, items_of, with_biases
from dsa_edge.runtime._optimizer import Hyperparameters
from dsa_edge.runtime._pace import Pace
from dsa_edge.runtime._plan import MB, Budget, Chunks, check_disk, spills, store_growth
from dsa_edge.runtime._planner import Plan, Timing, Trial, trial_set
from dsa_edge.runtime._privacy import Privacy, Spent, check_covered
from dsa_edge.runtime._random import order
from dsa_edge.runtime._rehearsal import Fitted, rehearse
from dsa_edge.runtime._report import Progress, Report
from dsa_edge.runtime._routing import counted, served_examples, settled_gate
from dsa_edge.runtime._subspace import Point
from dsa_edge.runtime._trainer import Outcome
from dsa_edge.runtime._wish import Wish, ignore
from dsa_edge.runtime.estimators import Space, make_estimator

__all__ = ["Learner"]

PROMPT_SHARE = 0.5  # of the allowed seconds, for caching prompts; the rest is for steps
PROMPTS, OLD = 2**33, 2**34  # epoch numbers that no run reaches


class Learner(Measured):
    """Learns adapters of one user from examples.

    device: what `conditions` are read from; None is this Linux system.
    """

    device: Device | None = None

    def fit(
        self,
        examples: Sequence[Example],
        budget: Budget | None = None,
        on_step: Callable[[Progress], object] | None = None,
        hyperparameters: Hyperparameters | None = None,
        seed: int = 0,
        on_prefill: Callable[[int], object] | None = None,
        remember: bool = False,
        replay: int = 0,
        privacy: Privacy | None = None,
        conditions: Conditions | None = None,
        on_pause: Callable[[tuple[str, ...]], object] | None = None,
    ) -> Report:
        """Learn from examples, starting from the adapter in use.

        A part of the examples is held out. Unless the loss on them, and on those that the first
        pass had not learned from yet, improves, the adapter stays as it was.
        on_step: called after every step; on_prefill: with the number of prompts just cached.
        hyperparameters: by default the bundle's own (`dsa-edge tune`), or those that suit choices,
            or free responses; `suited` has those of other estimators and optimizers.
        seed: of the perturbations and the order of examples.
        remember: keep the examples in the store, a fair sample of 1,000 of all that were ever
            given; without it the store knows only their ids.
        replay: remembered examples of earlier fits, at most so many, to learn from beside the new
            ones so that what they taught is not forgotten.
        privacy: bounds what one example may reveal, over all fits of this store.
        conditions: pause whenever they are not met; on_pause: called with what is not met, and
            with nothing when the fit goes on. Pauses do not count as time of the budget.
        Raises ExampleError for examples that cannot be learned from, BudgetError when the budget
        is too small for this model, StoreError when another program is changing the store,
        PrivacyError when the guarantee cannot be kept.
        """
        if not 0 <= seed < 2**63:  # what the generator and the journal can hold
            raise UsageError(f"seed is {seed}, expected 0 ≤ seed < 2^63.")
        if replay < 0:
            raise UsageError(f"replay is {replay}, expected 0 or more examples.")
        if privacy and hyperparameters:  # before prompts are cached for nothing
            check_covered(hyperparameters)
        wish = Wish(
            budget or Budget(), on_step or ignore, hyperparameters, seed,
            on_prefill or ignore, remember, replay, privacy,
        )  # fmt: skip
        wait = waiting(conditions, self.device, on_pause or ignore)
        with self._store.writing():
            choices = all(example.choices for example in examples)
            known = self.bundle.manifest, choices, hyperparameters, privacy is not None
            pace = Pace(wish.budget.steps or usual_steps(*known), wish.budget, wait)
            return self._fit(examples, wish, pace)

    def plan(
        self,
        examples: Sequence[Example],
        budget: Budget | None = None,
        hyperparameters: Hyperparameters | None = None,
        seed: int = 0,
    ) -> Plan:
        """What `fit` would take, from a trial on some of the examples; nothing is learned.

        Raises ExampleError and BudgetError as `fit`.
        """
        budget = budget or Budget()
        self._prepare(budget)
        encoded = self._encoder.encode_all(learnable(examples))
        choices = all(e.choices for e in encoded)
        hyper = settled(self.bundle.manifest, choices, hyperparameters)
        steps = budget.steps or usual_steps(self.bundle.manifest, choices, hyperparameters)
        bound = self._growth(steps, hyper, len(encoded))
        chunks = self._chunks(encoded, budget, bound, self._group(encoded))
        size, tokens = cache_size(self.bundle.manifest, items_of(encoded))
        spilled = size if spills(size, chunks) else 0
        check_disk(self._store.folder, spilled)
        trial = self._trial(encoded, chunks, hyper, seed)
        timing = Timing(trial, len(encoded), tokens, steps, steps, seed)
        if budget.seconds is not None:
            timing = timing.within(budget.seconds, PROMPT_SHARE)
        held = size * timing.examples // len(encoded)
        if spilled:
            held = largest_item(self.bundle.manifest, items_of(encoded))
        return Plan(
            peak_mb=trial.peak + held / MB,
            disk_mb=(spilled + self._likely_growth(timing.steps, hyper, encoded, bound)) / MB,
            disk_bound_mb=(spilled + bound) / MB,
            spill_mb=spilled / MB,
            seconds=timing.until_first_step + timing.steps * timing.a_step,
            prefill_seconds=timing.until_first_step,
            step_seconds=timing.a_step,
            steps=timing.steps,
            examples=timing.examples,
            tokens=timing.tokens,
            notes=late(len(encoded), timing.examples)
            + of_curve(self.bundle.manifest, choices, len(encoded)),
        )

    def _trial(
        self, encoded: Sequence[Encoded], chunks: Chunks, hyper: Hyperparameters, seed: int
    ) -> Trial:
        """What some of the examples take, cached in memory: the store's folder stays as it is."""
        some = trial_set(encoded, seed, self.bundle.manifest, chunks.cache)
        kept = replace(chunks, cache=sys.maxsize)
        point = self._point(self.adapter, hyper.along, self.version)

        def cached(examples: Sequence[Encoded]) -> Objective:
            made = self._within(examples, kept, group=self._group(encoded))
            made.subspace = point.subspace
            return made

        try:
            return Trial.run(some, len(encoded), cached, self._engine, point.begin, hyper)
        finally:
            self._engine.release("prefill", "probe", "choose", "pull_losses", "pull_choices")

    def _likely_growth(
        self, steps: int, hyper: Hyperparameters, encoded: Sequence[Encoded], bound: int
    ) -> int:
        """Bytes that a fit that improves adds to the store meanwhile."""
        if self._store.folder is None:
            return 0
        choices = with_biases(example.choices for example in encoded)
        labels = (*self.adapter.labels, *choices)
        numbers, shape = (
            hyper.along or self.bundle.manifest.adapter_size,
            self.bundle.manifest.gate_shape,
        )
        size = numbers + self.bundle.manifest.gate_size
        fitted = Fitted(steps, size, len(encoded), hyper, labels, self._width(hyper), shape)
        return rehearse(fitted, self._store, bound)

    def _fit(self, examples: Sequence[Example], wish: Wish, pace: Pace) -> Report:
        self._prepare(wish.budget)
        known = self._known(examples, wish)
        ids = [key for key, _ in known]
        objective = self._cached([example for _, example in known], wish, pace)
        prefill_seconds = pace.elapsed()
        parent, old, manifest = self.version, self.adapter, self.bundle.manifest
        objective.bias = objective.bias_of(old)
        private = wish.privacy is not None
        hyper = wish.settled(manifest, objective.all_choices)
        scratch = hyper.gate == "scratch"
        gate = settled_gate(objective, old.gate, manifest, wish.seed, private, scratch)
        point = self._point(old, hyper.along, parent)
        objective.subspace = point.subspace
        some = ids[: len(objective)]
        course = self._course(objective, point, some, wish, hyper, pace.steps, gate)
        if wish.remember:
            self._remember(dict(known))
        run = self._store.start_run(
            parent, wish.seed, asdict(course.hyper), ids, course.spent(pace.steps),
            self._width(course.hyper), gate if old.gate is None else None,
            self._begins_at(parent, hyper.along),
            course.explorer.directions if course.explorer else None,
        )  # fmt: skip
        outcome = course.run(
            point.begin, lambda step: self._store.append(run, step), wish.on_step, pace
        )
        spent = course.spent(outcome.steps)
        if gate is not None and not private:
            gate = counted(objective, outcome.gate or gate)
        labels = {**old.labels, **_labels(objective.choices, outcome)}
        adapter = point.adapter(outcome.adapter, labels, gate)
        version = self._keep(run, parent, adapter, outcome, spent)
        served = gate.served if gate and not private else ()
        places = {self.example_id(e): at for at, e in reversed([*enumerate(examples)])}
        return Report(
            verdict=outcome.verdict,
            version=version,
            steps=outcome.steps,
            examples=len(objective),
            held_out=0 if len(course.held_out) == len(objective) else len(course.held_out),
            before=outcome.before,
            calibrated=outcome.calibrated if objective.choices else None,
            after=outcome.after,
            fit_seconds=pace.elapsed(),
            prefill_seconds=prefill_seconds,
            step_seconds=outcome.step_seconds,
            tokens=outcome.tokens,
            peak_mb=peak_mb(),
            adapter_bytes=4 * (hyper.along or manifest.adapter_size),
            adapter_size=manifest.adapter_size,
            seed=wish.seed,
            hyperparameters=asdict(course.hyper),
            privacy=spent,
            notes=self._notes(len(known), objective, course, outcome)
            + route_notes(served, len(objective)),
            routes=served,
            served_examples=served_examples(objective, places, ids) if served else (),
            evenness=evenness(served) if served else None,
            curve=tuple(outcome.curve),
        )

    def _notes(
        self, given: int, objective: Objective, course: Course, outcome: Outcome
    ) -> tuple[str, ...]:
        alone = len(course.held_out) == len(objective)
        return (
            *of_method(course.hyper),
            *of_attention(objective.group, self._wanted(objective.longest), self._engine.name),
            *of_allocation(course.hyper, outcome.adapter, self.bundle.manifest.slots),
            *course.notes,
            *late(given, len(objective)),
            *of_circumstances(alone, self._engine.from_storage),
        )

    def _known(self, examples: Sequence[Example], wish: Wish) -> list[tuple[str, Example]]:
        """Examples and their ids, in the order to cache them: the new ones and some of the old."""
        known = [(self.example_id(example), example) for example in learnable(examples)]
        if wish.replay:
            new = {key for key, _ in known}
            old = [pair for pair in self.remembered().items() if pair[0] not in new]
            known += [old[i] for i in order(wish.seed, OLD, len(old))[: wish.replay]]
        if wish.privacy:  # an example that comes twice would be hidden half as well
            known = list(dict(known).items())
        if wish.budget.seconds:  # not all may be cached in time, so any part must be a fair one
            known = [known[i] for i in order(wish.seed, PROMPTS, len(known))]
        return known

    def _cached(self, examples: Sequence[Example], wish: Wish, pace: Pace) -> Objective:
        """The loss over the examples, as many as there is time for."""

        def on_prefill(count: int) -> None:
            wish.on_prefill(count)
            pace.pause()

        encoded = self._encoder.encode_all(examples)
        choices = all(e.choices for e in encoded)
        hyper = wish.settled(self.bundle.manifest, choices)
        content = sum(map(_kept_bytes, examples)) if wish.remember else 0
        growth = self._growth(pace.steps, hyper, len(encoded), content)
        pace.pause()
        deadline = pace.deadline(PROMPT_SHARE)
        objective = self._objective(
            encoded, wish.budget, on_prefill, deadline, growth, self._group(encoded)
        )
        self._engine.release("prefill")
        return objective

    def _growth(self, steps: int, hyper: Hyperparameters, examples: int, content: int = 0) -> int:
        """Bytes that a fit adds to the store at most; none to one in memory.

        content: bytes of examples that it keeps.
        """
        width = self._width(hyper)
        check_budget(hyper, hyper.along or self.bundle.manifest.adapter_size, steps)
        if self._store.folder is None:
            return 0
        numbers = self.bundle.manifest.adapter_size + self.bundle.manifest.gate_size
        content += record_bytes(hyper, self.bundle.manifest.gate_shape)
        return store_growth(steps, numbers, width, examples, content)

    def _width(self, hyper: Hyperparameters) -> int:
        """Scalars of a step; raises UsageError where an estimator does not fit what is there."""
        if hyper.estimator == "exact" and not self._engine.gradients:
            raise UsageError(
                "estimator exact needs ONNX graphs of gradients, and this bundle has none, or runs "
                f"on {self._engine.name}: export it with `--gradients` and use backend onnx, or "
                "leave the estimator out."
            )
        manifest = self.bundle.manifest
        if hyper.learns_gate and manifest.adapter.blocks == manifest.adapter.active:
            raise UsageError(
                f"gate {hyper.gate} chooses among blocks, and all {manifest.adapter.blocks} here "
                "serve every prompt: export with more --blocks than --active, or use gate clusters."
            )
        point = self._point(self.adapter, hyper.along, self.version)
        own = make_estimator(hyper, 0, Space(point.begin, point.shapes, point.blocks)).width
        return own + gate_width(hyper, manifest.adapter.blocks)

    def _course(
        self, objective: Objective, point: Point, ids: Sequence[str], wish: Wish,
        hyper: Hyperparameters, steps: int, gate: Gate | None,
    ) -> Course:  # fmt: skip
        if wish.privacy is None:
            return OpenCourse(objective, point.begin, hyper, wish.seed, gate)
        return PrivateCourse(objective, ids, hyper, wish.seed, wish.privacy, steps, self.fits())

    def _keep(
        self, run: int, parent: int, adapter: Adapter, outcome: Outcome, spent: Spent | None
    ) -> int:
        """Save the outcome as a version if it improved; returns the version in use."""
        if outcome.verdict != "improved":
            self._store.end_run(run, outcome.verdict, spent=spent)
            return parent
        summary = {"before": asdict(outcome.before), "after": asdict(outcome.after)}
        made = self._store.end_run(run, outcome.verdict, (adapter, outcome.kept, summary), spent)
        return parent if made is None else made


def _labels(choices: tuple[str, ...], outcome: Outcome) -> dict[str, float]:
    """The label biases of an outcome."""
    return {} if outcome.bias is None else dict(zip(choices, outcome.bias.tolist(), strict=True))


def _kept_bytes(example: Example) -> int:
    """Bytes of an example in the store at most, with its id and what seals it."""
    return len(json.dumps(asdict(example))) + 128
