"""The comparison itself, on a tiny bundle and a made-up task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _methods_run
import numpy as np
import pytest
from _methods_report import compact, report
from _methods_rows import WHOLE, Row, rows, settings, steps_of
from _methods_run import Bench, Job, Options
from _tasks import Task
from methods import Plan
from stub import COMMON, EXAMPLES

from dsa_edge.examples import Example
from dsa_edge.kinds import KINDS
from dsa_edge.runtime._hyperparameters import ESTIMATORS

FREE = [Example(COMMON + "and", " the garden was green"), Example("He did", " not like it")]
TASKS = {
    "reviews": Task("reviews", *(tuple(EXAMPLES * n) for n in (4, 2, 4, 1))),
    "posts": Task("posts", *(tuple(FREE * n) for n in (8, 2, 8, 1))),
}


@pytest.fixture
def bench(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(_methods_run, "load_task", lambda name, *_: TASKS[name])
    return Bench(Options(str(bundle), steps=3, tune_steps=2, seeds=1, folder=str(tmp_path)))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "row",
    [None, Row("core", rank=4), Row("scale", "one-sided", "sgd"), Row("core", "exact", rank=4)],
    ids=["whole", "core", "one-sided", "exact"],
)
def test_rows_are_tuned_and_fitted(bench: Bench, row: Row | None, task: str) -> None:
    (tuned,) = bench.run(Job(row, task))
    assert len(tuned["trials"]) == 9
    assert tuned["loss"] == min(trial[2] for trial in tuned["trials"])
    (fitted,) = bench.run(Job(row, task, tuned["settings"], (0,)))
    assert fitted["row"] == (WHOLE if row is None else row.name)
    tokens = [tokens for _, tokens, _ in fitted["curve"]]
    assert tokens == sorted(tokens)
    assert fitted["curve"][-1][0] == fitted["steps"]
    assert np.isfinite([fitted["before"], fitted["after"]]).all()


def test_a_run_does_not_depend_on_those_before(bench: Bench) -> None:
    row = Row("core", rank=4)
    start = {"rate": 0.05, "epsilon": 0.1, "smoothing": 0.0, "queries": 16}
    first, other, again = (
        next(iter(bench.run(Job(row, "reviews", start, (seed,))))) for seed in (0, 1, 0)
    )
    assert first["curve"] == again["curve"]
    assert first["curve"] != other["curve"]


def test_every_kind_and_estimator_has_a_row() -> None:
    wanted = rows(tuple(KINDS), ESTIMATORS)
    assert {row.kind for row in wanted} == set(KINDS)
    assert {row.estimator for row in wanted} == set(ESTIMATORS)
    assert len({row.name for row in wanted}) == len(wanted)
    assert [row.kind for row in rows(("core",), ("exact",))] == ["core"]


def test_rows_get_the_same_lanes_and_trials() -> None:
    for row in rows(tuple(KINDS), ESTIMATORS):
        hyper = row.hyper(True)
        tried = [*settings(hyper, {}), *settings(hyper, {1.0: 0.5, 3.0: 0.4})]
        assert len({(h.epsilon, h.rate) for h in tried}) == 9
    assert steps_of(Row("core").hyper(True), 100, 100) == 100
    assert steps_of(Row("core", "mezo", "sgd", queries=1).hyper(True), 100, 100) == 1600
    assert steps_of(Row("core", "exact").hyper(True), 100, 100) == 100


def test_what_is_done_is_not_done_again() -> None:
    done: list[dict[str, Any]] = []
    plan = Plan([None, Row("core")], ("reviews", "news"), 2, done)
    assert plan.left == 3 + 2 * 2 * 2
    first = plan.next(None)
    assert first is not None
    assert (first.row, first.task, first.settings) == (None, "reviews", None)
    second = plan.next("reviews")
    assert second is not None
    assert second.row == Row("core")
    assert plan.next("reviews") == Job(None, "news")  # first order is tuned on each task
    assert plan.next("reviews") is None  # all wait for their tuning
    plan.add({"what": "tuned", "row": WHOLE, "task": "news", "settings": {"rate": 1e-3}})
    plan.add({"what": "fit", "row": WHOLE, "task": "news", "seed": 0})
    job = plan.next("news")
    assert job is not None
    assert (job.task, job.seeds) == ("news", (1,))


def test_a_longer_row_waits_for_the_tuning_of_its_own_row() -> None:
    longer = Row("core", "one-sided", tasks=("mails",), times=5)
    plan = Plan([longer], ("reviews", "mails"), 1, [])
    assert plan.left == 2  # a tuning, and mails alone
    job = plan.next(None)
    assert job == Job(longer.tuned, "reviews")
    assert plan.next(None) is None
    plan.add({"what": "tuned", "row": job.name, "task": "reviews", "settings": {"rate": 1e-3}})
    assert plan.next(None) == Job(longer, "mails", {"rate": 1e-3}, (0,))


def test_one_lucky_look_reaches_nothing(tmp_path: Path) -> None:
    ends = {"what": "fit", "task": "reviews", "size": 8, "steps": 2, "tokens": 9000, "before": 0.5}
    core = {**ends, "row": "core", "kind": "core", "estimator": "antithetic", "optimizer": "adam"}
    core |= {"width": 16, "published": "", "verdict": "improved"}
    whole = {**ends, "row": WHOLE, "verdict": "", "seed": 0, "after": 0.9}
    runs = [
        {**whole, "curve": [[1, 3000, 0.7], [2, 9000, 0.9]]},
        {**core, "seed": 0, "after": 0.7, "curve": [[1, 1000, 0.9], [2, 2000, 0.7]]},
        {**core, "seed": 1, "after": 0.9, "curve": [[1, 1000, 0.6], [2, 2000, 0.9]]},
    ]
    cell = report(runs, tmp_path / "methods")["rows"]["core"]["reviews"]
    assert cell["reached"][0.95] is None  # 0.88: each run was there once, their mean never
    assert cell["held"][0.95] == 1


def test_a_report_tells_when_rows_reach_the_first_order_gain(tmp_path: Path) -> None:
    whole = {"row": WHOLE, "what": "fit", "task": "reviews", "size": 8, "steps": 2, "tokens": 9000}
    core = {**whole, "row": "core", "kind": "core", "estimator": "antithetic", "optimizer": "adam"}
    core["width"] = 16
    ends = {"verdict": "improved", "before": 0.5, "published": ""}
    runs = [
        {**whole, **ends, "seed": 0, "after": 0.8, "curve": [[1, 3000, 0.7], [2, 9000, 0.9]]},
        {**core, **ends, "seed": 0, "after": 0.8, "curve": [[1, 1000, 0.6], [2, 2000, 0.83]]},
        {**core, **ends, "seed": 1, "after": 0.9, "curve": [[1, 1000, 0.7], [2, 4000, 0.89]]},
    ]
    found = report([compact(run) for run in runs], tmp_path / "methods")
    reached = found["rows"]["core"]["reviews"]["reached"]
    assert reached[0.8] == [2, 3000]  # 0.82: medians over the seeds
    assert reached[0.95] is None  # 0.88: one of two is not more than half
    page = (tmp_path / "methods.md").read_text()
    assert "0.850 ± 0.050" in page
    (tmp_path / "methods.md").write_text("by hand\n" + page)
    report(runs, tmp_path / "methods")
    assert (tmp_path / "methods.md").read_text().startswith("by hand\n")
