"""The command line of dsa_runner: the options of Python's, and none that mean nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from native_runner import Library
from test_native_runner import examples, learned, lines, python, written

from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Hyperparameters, PassphraseKey
from dsa_edge.runtime._defaults import settled
from dsa_edge.runtime._notes import of_allocation

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


def test_where_a_budget_of_numbers_went_is_told_as_in_python(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    """Of the start, which is what is in use where nothing was improved."""
    words = "--data", written(tmp_path, lines()), "--steps", "9", "--keep", "0.3", "--rate", "0.05"
    report = library.run("personalize", bundles("llama"), "--store", tmp_path / "me", *words)
    with python(bundles("llama"), tmp_path / "me") as me:
        hyper = Hyperparameters.from_dict(report["hyperparameters"])
        (wanted,) = of_allocation(hyper, me.adapter.vector, me.bundle.manifest.slots)
    assert wanted in report["notes"]


def test_a_plan_has_the_steps_of_pythons(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    data = written(tmp_path, lines())
    told = library.run("plan", bundles("llama"), "--data", data, "--queries", "4")
    with python(bundles("llama")) as me:
        assert told["steps"] == settled(me.bundle.manifest, True, None).usual_steps * 2
    soon = library.run("plan", bundles("llama"), "--data", data, "--seconds", "0.02")
    assert soon["seconds"] <= 0.02 + soon["prefill_seconds"]
    assert soon["steps"] < told["steps"]


def test_a_fit_of_some_seconds_takes_no_more_prompts_than_they_allow(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    """Groups of prompts are as whole behind both halves of the layers as without a clock."""
    ask = "personalize", bundles("llama"), "--steps", "1", "--threads", "1", "--data"
    few = written(tmp_path, lines(80))
    timed = library.run(*ask, few, "--seconds", "600")
    with python(bundles("llama")) as me:
        wanted = me.fit(examples(lines(80)), Budget(steps=1, seconds=600))
    assert timed["examples"] == wanted.examples == 80
    assert timed["before"]["loss"] == pytest.approx(wanted.before.loss, abs=1e-5)
    many = written(tmp_path, lines(6000))
    report = library.run(*ask, many, "--seconds", "0.3")
    assert report["examples"] < 6000
    assert report["examples"] % 32 == 0  # whole groups
    (left_out,) = [note for note in report["notes"] if "left out" in note]
    assert f"enough for {report['examples']} of 6000 examples" in left_out


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
    gone = library.run("forget", *words, "--data", mine, "--examples", "0" * 16)
    assert (gone["known"], gone["unknown"]) == (len(lines()), 1)
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


def test_what_a_fit_takes_of_the_disk_is_bounded_whatever_the_data(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    """As Python counts it: the journal, the version and the log, by the steps that there may be."""
    ask = "--data", written(tmp_path, lines()), "--steps", "30", "--remember"
    words = bundles("gated"), "--store", tmp_path / "me"
    plan = library.run("plan", *words, *ask)
    assert (plan["spill_mb"], plan["disk_bound_mb"] > 0.05) == (0, True)
    error = library.run("personalize", *words, *ask, "--disk-mb", "0.05", code=1)["error"]
    assert "adds up to" in error
    assert library.run("history", *words)["fits"] == []
    before = library.run("info", *words)["store_bytes"]
    library.run("personalize", *words, *ask, "--disk-mb", str(plan["disk_bound_mb"] + 0.01))
    assert library.run("info", *words)["store_bytes"] - before <= plan["disk_bound_mb"] * 2**20
    with python(bundles("gated"), tmp_path / "other") as me:
        theirs = me.plan(examples(lines()), Budget(steps=30))
    bare = library.run("plan", bundles("gated"), "--store", tmp_path / "other", *ask[:-1])
    assert bare["disk_bound_mb"] == pytest.approx(theirs.disk_bound_mb, rel=1e-6)


def test_layers_that_come_from_storage_are_told(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    ask = "--data", written(tmp_path, lines()), "--steps", "1", "--layers-kept", "1"
    notes = library.run("personalize", bundles("llama"), *ask)["notes"]
    assert any("layers, which came from storage" in note for note in notes)


def test_a_template_may_be_a_file(library: Library, bundles: Bundles, tmp_path: Path) -> None:
    data, template = tmp_path / "texts.jsonl", tmp_path / "prompt.txt"
    data.write_text("\n".join(f'{{"text": "film {i}", "label": {i % 2}}}' for i in range(8)))
    template.write_text("Rated:\n{text} It was\n")
    words = "evaluate", bundles("llama"), "--data", data, "--labels", " a, l"
    told = "Rated:\n{text} It was"
    assert library.run(*words, "--template", f"@{template}") == library.run(
        *words, "--template", told
    )
    missing = library.run(*words, "--template", f"@{tmp_path}/none", code=2)["error"]
    assert "cannot be read" in missing


def test_keys_are_named_as_in_python_and_unsealing_is_asked_for(
    library: Library, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    words = bundles("llama"), "--store", tmp_path / "me"
    key = f"file:{tmp_path / 'me.key'}"
    library.run("load", *words, "--adapter", learned(bundles("llama"), tmp_path / "a"))
    for wrong in ((), ("--to", "secret"), ("--to", key, "--unseal"), ("--to", "passphrase")):
        error = library.run("rekey", *words, *wrong, code=2)["error"]
        assert "secret" not in error
    assert not library.run("info", *words)["sealed"]
    library.run("rekey", *words, "--to", key)
    library.run("rekey", *words, "--key", key, code=2)
    assert library.run("info", *words, "--key", key)["sealed"]
    monkeypatch.setenv("DSA_EDGE_NEW_PASSPHRASE", "one")
    library.run("rekey", *words, "--key", key, "--to", "passphrase")
    monkeypatch.setenv("DSA_EDGE_PASSPHRASE", "one")
    with python(bundles("llama"), tmp_path / "me", key=PassphraseKey("one")) as me:
        assert me.version == 1
    library.run("rekey", *words, "--key", "passphrase", "--unseal")
    assert library.run("info", *words)["version"] == 1
