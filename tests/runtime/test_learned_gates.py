"""Gates that learn: a policy's gradients, and fits whose routes follow what they earn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gates import CHOICES, FILM, RAIN, WORDS, Tasks, mixed

from dsa_edge.adapter import AdapterSpec
from dsa_edge.clusters import differences
from dsa_edge.errors import PrivacyError, UsageError
from dsa_edge.policy import _log_gradients, advantages, drawn, pull, temperature
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer, Privacy
from dsa_edge.runtime._engine import Context, Floats, Ints
from dsa_edge.runtime._store import Store

LEARNED, SCRATCH = (Hyperparameters(gate=gate) for gate in ("learned", "scratch"))
SCORES = np.array([[0.3, -0.6, 1.1], [2.0, 1.5, -1.0]])


@pytest.fixture(scope="module")
def two(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("learned") / "two.dsa"
    spec = AdapterSpec("core", rank=8, targets=("q", "v", "down"), blocks=2)
    export(tiny_checkpoint("llama"), path, adapter=spec, accuracy_level=0, check=False)
    return path


class Counting(Tasks):
    """Counts rows of lanes and examples."""

    rows = 0

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        self.rows += len(adapter) * len(context.lengths)
        return super().choose(context, adapter, candidates)


def user(bundle: Path, folder: Path | None = None) -> Personalizer:
    engine = Counting(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def alike() -> list[Example]:
    """Two tasks that one word tells apart, in prompts that differ far more in what says nothing."""
    made = []
    for number, word in enumerate(WORDS * 3):
        right = ord(word[-1]) % 2
        for task, mark in enumerate(("early", "slow")):
            start = (RAIN, FILM)[(number // 2 + task) % 2]
            answer = CHOICES[right ^ task]
            made.append(Example(f"{start}{mark} {number} {word}", answer, CHOICES))
    return made


def log_chance(scores: np.ndarray, route: tuple[int, ...]) -> float:
    """Of an ordered route without replacement."""
    left, total = list(range(len(scores))), 0.0
    for block in route:
        total += scores[block] - np.log(np.exp(scores[left]).sum())
        left.remove(block)
    return total


def test_routes_are_drawn_by_their_chance_and_again_the_same() -> None:
    noise = np.random.default_rng(7).gumbel(size=(4000, *SCORES.shape))
    routes = drawn(SCORES, 2, noise)
    assert routes.shape == (4000, 2, 2)
    for example, scores in enumerate(SCORES):
        for route in itertools.permutations(range(3), 2):
            share = (routes[:, example] == route).all(1).mean()
            # four deviations of a share of 4000 draws
            assert share == pytest.approx(
                np.exp(log_chance(scores, route)), abs=4 * 0.5 / 4000**0.5
            )


def test_gradients_are_those_of_the_chance() -> None:
    routes = np.array([[[0, 2], [1, 0]], [[2, 1], [0, 1]]])
    found, small = _log_gradients(SCORES, routes), 1e-5
    for draw, example, block in itertools.product(range(2), range(2), range(3)):
        route = tuple(routes[draw, example].tolist())
        shift = small * np.eye(3)[block]
        ends = [log_chance(SCORES[example] + sign * shift, route) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * small)
        assert found[draw, example, block] == pytest.approx(expected, abs=1e-8)


def test_what_earns_more_than_the_others_is_pulled_up() -> None:
    scores, routes = np.zeros((1, 2)), np.array([[[0]], [[1]], [[1]]])
    worth = advantages(np.array([[-0.2], [-0.9], [-0.7]]))
    assert worth[:, 0] @ np.ones(3) == pytest.approx(0)
    assert (worth**2).mean() == pytest.approx(1)
    moved = pull(scores, routes, worth)
    assert moved[0, 0] < 0 < moved[0, 1]  # what is minimized falls towards block 0
    lost = advantages(np.array([[-0.2, 1.0], [np.inf, 2.0]]))
    assert not lost[:, 0].any()
    assert lost[:, 1].any()
    assert not advantages(np.full((3, 2), np.nan)).any()


def test_a_crowded_block_is_pushed_down_and_a_closed_policy_opened() -> None:
    routes, nothing = np.zeros((2, 4, 1), dtype=np.int64), np.zeros((2, 4))
    even = pull(np.zeros((4, 2)), routes, nothing)
    assert (even[:, 0] > 0).all()
    closed = pull(np.tile([9.0, 0.0], (4, 1)), routes, nothing)
    assert (closed[:, 0] > 0).all()
    other = 1 / (1 + np.exp(9.0))
    assert closed[0, 0] > 10 * 0.02 * other / 4  # ten times what the balance loss alone would do


def test_temperatures_leave_room_for_other_blocks() -> None:
    random = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e4):
        scores = scale * random.standard_normal((50, 4))
        heat = temperature(scores, 0.8)
        likely = np.exp(scores / heat - (scores / heat).max(1, keepdims=True))
        assert (1 / likely.sum(1)).mean() == pytest.approx(0.8, abs=1e-6)
    assert temperature(np.zeros((3, 4)), 0.8) == 1.0


def test_directions_are_those_in_which_prompts_differ() -> None:
    random = np.random.default_rng(1)
    states = random.standard_normal((40, 64)).astype(np.float32) * 3 + 5
    rows = differences(states)
    features = states @ rows[:, :-1].T + rows[:, -1]
    assert (features**2).sum(1).mean() == pytest.approx(1, rel=0.01)
    few = differences(states[:3])
    assert few.shape == rows.shape
    assert np.isfinite(few).all()
    assert np.isfinite(differences(np.ones((4, 64), np.float32))).all()


def test_a_gate_learns_what_clusters_cannot_see(two: Path) -> None:
    """Prompts that look alike go to the block that answers them, at no row of lanes more."""
    accuracy, rows = {}, {}
    for name in ("clusters", "learned", "scratch"):
        me = user(two)
        hyper = Hyperparameters(gate=name)
        report = me.fit(alike(), Budget(steps=200), hyperparameters=hyper, seed=1)
        assert report.verdict == "improved"
        assert sum(report.routes) == 120
        assert sum(map(len, report.served_examples)) == 10
        rows[name] = me._engine.rows  # type: ignore[attr-defined]
        accuracy[name] = me.evaluate(alike())[0].accuracy or 0.0
    assert accuracy["clusters"] <= 0.86
    assert accuracy["learned"] >= accuracy["clusters"] + 0.03
    assert accuracy["scratch"] >= 0.9
    assert rows["learned"] == rows["clusters"]


def test_a_gate_that_is_right_stays_nearly_so(two: Path) -> None:
    """Noise of what routes earn may move a few prompts at the border."""
    me = user(two)
    report = me.fit(mixed(), Budget(steps=150), hyperparameters=LEARNED)
    assert report.verdict == "improved"
    assert min(report.routes) >= 54
    assert (me.evaluate(mixed())[0].accuracy or 0) >= 0.94


def test_learned_gates_replay_to_the_bit(two: Path, tmp_path: Path) -> None:
    with user(two, tmp_path / "me") as me:
        for fit in (1, 2):  # the second one goes on from the first one's gate
            report = me.fit(mixed(), Budget(steps=60), hyperparameters=LEARNED, seed=fit)
            assert report.version == fit
        versions = [me.adapter]
        me.rollback(1)
        versions.insert(0, me.adapter)
    with user(two, tmp_path / "me") as me:
        for run, version in zip(me.fits(), versions, strict=True):
            assert run.width == 2 * 8 + 2 * 17
            start, kept, last = me.replay([0, run.kept or 0, 60], run.id)
            assert start.gate is not None
            assert kept.gate is not None
            assert last.gate is not None
            assert version.gate is not None
            np.testing.assert_array_equal(kept.vector, version.vector)
            np.testing.assert_array_equal(kept.gate.table, version.gate.table)
            assert (start.gate.table != kept.gate.table).any()
        first = me.replay([0], 2)[0].gate
        assert first is not None
        assert versions[0].gate is not None
        np.testing.assert_array_equal(first.table, versions[0].gate.table)
        me.rekey(None)
        np.testing.assert_array_equal(me.replay([0], 2)[0].vector, versions[0].vector)


def test_an_interrupted_fit_leaves_the_gate_that_it_had_come_to(two: Path, tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    with user(two, tmp_path / "me") as me, pytest.raises(KeyboardInterrupt):
        me.fit(mixed(), Budget(steps=20), on_step=stop, hyperparameters=LEARNED)
    with user(two, tmp_path / "me") as me:
        start, adapter = me.replay([0, 5])
        assert start.gate is not None
        assert adapter.gate is not None
        assert (adapter.gate.table != start.gate.table).any()
        assert me.use_adapter(adapter) == 1
        with pytest.raises(AssertionError):
            np.testing.assert_array_equal(start.vector, me.adapter.vector)


def test_a_gate_that_nothing_improved_is_not_kept(two: Path) -> None:
    me = user(two)
    same = [Example(f"{RAIN}{i}", CHOICES[i % 2], CHOICES) for i in range(24)]
    report = me.fit(same, Budget(steps=1), hyperparameters=replace(LEARNED, rate=1e-12))
    assert report.verdict == "no improvement"
    assert me.adapter.gate is None


def test_gates_that_cannot_learn_are_refused(two: Path, bundle: Path) -> None:
    with pytest.raises(UsageError, match="gate is 'oracle', expected one of clusters, learned"):
        Hyperparameters(gate="oracle")
    with pytest.raises(UsageError, match=r"learns from pairs of lanes.*got estimator axes"):
        Hyperparameters(gate="learned", estimator="axes")
    with pytest.raises(UsageError, match=r"got estimator antithetic and slopes of batch"):
        Hyperparameters(gate="learned", slopes="batch")
    for draws in (1, 3):
        with pytest.raises(UsageError, match=f"draws is {draws} for 8 queries"):
            Hyperparameters(gate="learned", draws=draws)
    with pytest.raises(UsageError, match="gate_rate is 0"):
        Hyperparameters(gate_rate=0)
    with pytest.raises(UsageError, match="all 1 here serve every prompt"):
        user(bundle).fit(mixed(), Budget(steps=2), hyperparameters=LEARNED)
    me = user(two)
    me.fit(mixed(), Budget(steps=2))
    with pytest.raises(PrivacyError, match="does not cover what a gate learns"):
        me.fit(mixed(), Budget(steps=2), privacy=Privacy(8.0, 1e-4), hyperparameters=LEARNED)


def test_a_plan_knows_what_a_learned_gate_takes_on_disk(two: Path, tmp_path: Path) -> None:
    with user(two, tmp_path / "me") as me:
        before = sum(file.stat().st_size for file in (tmp_path / "me").iterdir())
        plan = me.plan(mixed(), Budget(steps=40), LEARNED)
        report = me.fit(mixed(), Budget(steps=40), hyperparameters=LEARNED)
        assert report.version == 1
        grown = sum(file.stat().st_size for file in (tmp_path / "me").iterdir()) - before
        assert grown <= plan.disk_bound_mb * 2**20
        assert grown == pytest.approx(plan.disk_mb * 2**20, rel=0.3)
