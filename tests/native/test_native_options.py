"""The command line of dsa_runner: the options of Python's, and none that mean nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from native_runner import Library
from test_native_runner import learned, lines, python, written

from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Hyperparameters
from dsa_edge.runtime._defaults import settled

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)

Bundles = Callable[[str], Path]


def test_settings_have_options_of_their_own(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    """An option counts more than --settings, and both more than what suits the method."""
    ask = (
        "--data",
        written(tmp_path, lines()),
        "--steps",
        "2",
        "--settings",
        '{"rank": 2, "rate": 9}',
    )
    more = "--estimator", "lowrank", "--queries", "3", "--batch", "5", "--rate", "0.001"
    report = library.run("personalize", bundles("llama"), *ask, *more)
    hyper = Hyperparameters.from_dict(report["hyperparameters"])
    assert (hyper.estimator, hyper.rank, hyper.queries, hyper.batch) == ("lowrank", 2, 3, 5)
    assert hyper.rate <= 0.001  # or what a trial makes of it
    assert (hyper.keep_from, hyper.keep_until) == (0, 1)  # of two steps


def test_a_plan_has_the_steps_of_pythons(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    data = written(tmp_path, lines())
    told = library.run("plan", bundles("llama"), "--data", data, "--queries", "4")
    with python(bundles("llama")) as me:
        assert told["steps"] == settled(me.bundle.manifest, True, None).usual_steps * 2


@pytest.mark.parametrize(
    "wrong", ["raining", "charging=1", "battery", "battery=full", "celsius=nan", "idle=", ""]
)
def test_conditions_that_are_none_are_refused(
    library: Library, bundles: Bundles, tmp_path: Path, wrong: str
) -> None:
    ask = "--data", written(tmp_path, lines()), f"--when={wrong}"
    assert "--when has" in library.run("personalize", bundles("llama"), *ask, code=2)["error"]


def test_a_fit_that_may_run_runs(library: Library, bundles: Bundles, tmp_path: Path) -> None:
    ask = "--data", written(tmp_path, lines()), "--steps", "1", "--when", "idle=1"
    assert library.run("personalize", bundles("llama"), *ask)["steps"] == 1


def test_what_was_learned_from_a_file_is_forgotten_alone(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    words = bundles("llama"), "--store", tmp_path / "me"
    library.run("load", *words, "--adapter", learned(bundles("llama"), tmp_path / "a"))
    mine = tmp_path / "mine.jsonl"
    mine.write_text("\n".join(json.dumps({**e, "prompt": f"Mine {e['prompt']}"}) for e in lines()))
    for data in (written(tmp_path, lines()), mine):
        library.run("personalize", *words, "--data", data, "--steps", "2")
    library.run("forget", *words, "--data", mine)
    told = library.run("history", *words)
    assert [fit["id"] for fit in told["fits"]] == [1]
    assert told["versions"][0]["verdict"] == "loaded"
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert "error" in library.run("forget", *words, "--data", empty, code=1)
    assert "--data" in library.run("forget", *words, "--labels", "a,b", code=2)["error"]
    assert library.run("history", *words)["versions"] != []


@pytest.mark.parametrize(
    "words", [("rollback", "--data"), ("choose", "--steps"), ("history", "--version"),
              ("forget", "--version"), ("evaluate", "--privacy")],
)  # fmt: skip
def test_options_of_other_verbs_are_refused(
    library: Library, bundles: Bundles, words: tuple[str, str]
) -> None:
    """`forget --data` once forgot everything, for nobody read the file."""
    verb, option = words
    error = library.run(verb, bundles("llama"), option, "1", code=2)["error"]
    assert f"{option} is unknown here" in error
