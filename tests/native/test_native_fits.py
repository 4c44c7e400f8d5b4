"""Fits in C++: killed, stopped, out of time or disk, along directions, and refused."""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_engine import HYPER, THETA, asked
from native_learn import IDENTITY, Native, NativeError

from dsa_edge.gate import Gate
from dsa_edge.policy import LearnedGate
from dsa_edge.runtime._hyperparameters import ESTIMATORS, OPTIMIZERS, Hyperparameters
from dsa_edge.runtime._learned_gate import replayed_gates
from dsa_edge.runtime._optimizer import Step, replay
from dsa_edge.runtime._privacy import Spent
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._subspace import Subspace


def killed(native: Native, folder: Path, after: int) -> None:
    """A fit in another process that dies by SIGKILL once so many steps are told."""
    given = json.dumps(
        {"do": "fit", "identity": IDENTITY, "folder": str(folder), "slow": 2000, **asked()}
    )
    with subprocess.Popen(
        native.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdin
        assert run.stderr
        run.stdin.write(given.encode())
        run.stdin.close()
        for line in run.stderr:
            if int(line) == after:
                os.kill(run.pid, signal.SIGKILL)
                break


def test_a_fit_goes_on_after_a_kill_as_if_there_had_been_none(
    native: Native, tmp_path: Path
) -> None:
    native("fit", tmp_path / "whole", **asked())
    killed(native, tmp_path / "killed", after=9)
    store = Store(tmp_path / "killed", IDENTITY)
    (run,) = store.runs()
    kept = store.journal(run)
    assert (run.verdict, store.active) == (None, 0)
    assert len(kept) >= 9
    store.close()
    report = native("fit", tmp_path / "killed", **asked())
    assert report["resumed"] == len(kept)
    assert (report["steps"], report["verdict"]) == (24, "improved")
    stores = [Store(tmp_path / name, IDENTITY) for name in ("whole", "killed")]
    one, other = [
        [[s.rate, *s.slopes.tolist()] for s in store.journal(store.run())] for store in stores
    ]
    assert one == other
    assert [len(store.runs()) for store in stores] == [1, 1]
    for store in stores:
        store.close()
    assert native("adapter", tmp_path / "killed") == native("adapter", tmp_path / "whole")


def test_another_fit_begins_anew_and_keeps_the_interrupted_one(
    native: Native, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        native("fit", tmp_path, kill_after=5, **asked())
    report = native("fit", tmp_path, **asked(seed=8))
    assert (report["resumed"], report["version"]) == (0, 1)
    store = Store(tmp_path, IDENTITY)
    assert [run.verdict for run in store.runs()] == [None, "improved"]
    assert len(store.journal(store.run(1))) == 5
    store.close()


def test_an_interrupted_private_fit_is_never_gone_on_with(native: Native, tmp_path: Path) -> None:
    """Steps without noise would be counted among those with it."""
    with pytest.raises(KeyboardInterrupt):
        native("fit", tmp_path, kill_after=5, **asked())
    store = Store(tmp_path, IDENTITY)
    (run,) = store.runs()
    spent = Spent(noise=1.0, share=0.1, steps=24, verdict=1.0, epsilon=2.0, delta=1e-5)
    with store._db.transaction():
        store._keep_run(replace(run, privacy=spent))
    store.close()
    report = native("fit", tmp_path, **asked())
    assert (report["resumed"], report["version"]) == (0, 1)


def test_a_stop_gives_a_verdict_on_what_was_learned(native: Native, tmp_path: Path) -> None:
    report = native("fit", tmp_path, stop_after=7, **asked())
    assert (report["steps"], report["verdict"]) == (7, "improved")
    assert report["curve"][-1]["held_out_loss"] is not None
    assert native("history", tmp_path)["fits"] == [[1, "improved", 40]]


REFUSED = [
    ({"examples": []}, "example", "there are no examples"),
    ({"examples": [["1", " a", [" a", " b"], False]] * 2}, "example", "teaches only a constant"),
    ({"examples": [["1", "c", [" a", " b"], False]]}, "example", "not among the 2 choices"),
    ({"hyper": asdict(HYPER) | {"estimator": "exact"}}, "usage", "exact needs graphs of gradients"),
    ({"hyper": asdict(HYPER) | {"gate": "learned"}}, "usage", "chooses among blocks, and all 1"),
    ({"hyper": asdict(HYPER) | {"along": 3}}, "usage", "3 directions were asked for"),
    ({"seed": 2**63}, "usage", "expected 0 ≤ seed < 2"),
    ({"steps": 0}, "usage", "expected numbers more than 0"),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), REFUSED)
def test_what_cannot_be_learned_is_refused_and_leaves_no_fit(
    native: Native, tmp_path: Path, wrong: dict[str, Any], kind: str, words: str
) -> None:
    with pytest.raises(NativeError, match=words) as caught:
        native("fit", tmp_path, **asked(**wrong))
    assert caught.value.kind == kind
    assert native("history", tmp_path)["fits"] == []


def test_the_time_allowed_bounds_prompts_and_steps(native: Native, tmp_path: Path) -> None:
    report = native("fit", tmp_path, seconds=0.3, slow=5000, **asked(steps=10_000))
    assert report["fit_seconds"] < 1.5  # the last step and look may take longer than what is left
    assert 2 < report["steps"] < 10_000
    assert report["curve"][-1]["held_out_loss"] is not None


def test_pauses_do_not_count_as_time(native: Native, tmp_path: Path) -> None:
    """20 ms before each prompt and step would not leave time for all of them."""
    report = native("fit", tmp_path, seconds=0.5, pause=20_000, **asked())
    assert (report["steps"], report["examples"]) == (24, 40)
    assert report["fit_seconds"] < 0.5


def with_room(native: Native, most: int, given: dict[str, Any]) -> dict[str, Any]:
    """The tool's answer where files may have so many bytes at most."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = subprocess.run(
        native.command(), input=json.dumps(given), capture_output=True, text=True,
        preexec_fn=limited, restore_signals=False,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_a_full_disk_is_one_error_and_the_store_goes_on(native: Native, tmp_path: Path) -> None:
    """Room grows until the fit is done; each failed one leaves the version, and is gone on with."""
    native("fit", tmp_path, **asked())
    wanted = native("adapter", tmp_path)["theta"]
    given = {"do": "fit", "identity": IDENTITY, "folder": str(tmp_path), **asked(seed=5)}
    size, failed = native("bytes", tmp_path)["bytes"], 0
    for room in range(0, 60_000, 3_000):
        answer = with_room(native, size + room, given)
        if "error" not in answer:
            break
        failed += 1
        assert "check free space and permissions" in answer["error"]
        assert native("adapter", tmp_path)["theta"] == wanted
    assert failed > 2
    assert answer["steps"] == 24
    assert answer["resumed"] > 0


def test_learning_along_directions(native: Native, tmp_path: Path) -> None:
    """Coordinates are what is learned, journalled and kept; the vector follows to the bit."""
    directions = np.random.default_rng(4).normal(0, 0.2, (6, THETA.size)).astype(np.float32)
    start = {"start": "s" * 64, "directions": directions.tolist()}
    hyper = Hyperparameters.suited(False, along=4)
    report = native("fit", tmp_path, **start, **asked(hyper=asdict(hyper)))
    assert (report["verdict"], report["adapter_bytes"]) == ("improved", 16)
    store = Store(tmp_path, IDENTITY)
    run, used = store.run(), store.newest_whole().adapter
    assert run.start == "s" * 64
    assert used is not None
    assert used.coordinates is not None
    (learned,) = replay(
        np.zeros(4, np.float32), 3, Hyperparameters.from_dict(run.hyper), store.journal(run),
        [run.kept or 0], ((4,),),
    )  # fmt: skip
    store.close()
    np.testing.assert_array_equal(learned, used.coordinates.values)
    vector = Subspace(THETA, directions[:4], "s" * 64).vector(learned)
    assert (
        native("adapter", tmp_path, theta=THETA.tolist(), **start)["theta"]
        == vector.tobytes().hex()
    )
    with pytest.raises(NativeError, match="this bundle has another or fewer"):
        native("adapter", tmp_path, theta=THETA.tolist())
    with pytest.raises(NativeError, match="began from start sss"):
        native("replay", tmp_path, at=[1], theta=THETA.tolist())


def test_a_gate_that_python_learned_replays_to_the_bit(native: Native, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    hyper = Hyperparameters(queries=4, gate="learned")
    gate = Gate.read(random.normal(size=(2, 6)).astype(np.float32))
    directions = random.normal(size=(17, 6)).astype(np.float32)
    rows = random.normal(size=(5, 4 * 2 + 2 * 17)).astype(np.float32)
    rows[2, 20] = np.nan  # such a step does not move the gate
    journal = [Step(float(np.float32(0.01 / (1 + at))), row) for at, row in enumerate(rows)]
    store = Store(tmp_path, IDENTITY)
    run = store.start_run(0, 9, asdict(hyper), (), None, rows.shape[1], gate, None, directions)
    for step in journal:
        store.append(run, step)
    store.end_run(run, "no improvement")
    raw = store.run().directions
    store.close()
    assert base64.b64decode(raw or "") == directions.tobytes()
    at = [0, 2, 3, 5]
    gates = replayed_gates(LearnedGate(gate, directions), hyper, journal, at)
    shapes = ((3, 4), (3, 4))
    own = [Step(step.rate, step.slopes[:8]) for step in journal]
    states = replay(np.zeros(24, np.float32), 9, hyper, own, at, shapes, 2)
    more = {"theta": [0.0] * 24, "shapes": shapes, "blocks": 2}
    found = native("replay", tmp_path, at=at, **more)
    assert found["theta"] == [state.tobytes().hex() for state in states]
    assert found["gate"] == [made.table.tobytes().hex() for made in gates]


@pytest.mark.parametrize("choices", [False, True])
def test_what_suits_a_method_is_the_same(native: Native, choices: bool) -> None:
    methods = [(e, o, 0) for e in ESTIMATORS for o in OPTIMIZERS]
    for estimator, optimizer, along in [*methods, ("axes", "adam", 8)]:
        if (estimator, optimizer) != ("one-sided", "normalized"):
            more = {"choices": choices, "estimator": estimator, "optimizer": optimizer}
            suited = Hyperparameters.suited(**more, along=along)
            assert native("suited", along=along, **more) == asdict(suited)


CHANGES: list[dict[str, Any]] = [
    {},
    {"rate": 0.5, "batch": 4},
    {"estimator": "mezo", "queries": 4, "keep": 0.5},
    {"estimator": "quzo", "optimizer": "sgd"},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_changes_are_made_to_what_suits_the_method(
    native: Native, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """As the command line in Python does."""
    method = {name: changes[name] for name in ("estimator", "optimizer") if name in changes}
    wanted = replace(Hyperparameters.suited(False, **method), **changes)
    wanted = replace(wanted.within(wanted.usual_steps), **changes)
    given = asked(changes=changes, resume=False)
    report = native(
        "fit", tmp_path, **{k: v for k, v in given.items() if k not in ("hyper", "steps")}
    )
    assert len(report["curve"]) == report["steps"] <= wanted.usual_steps
    assert report["hyperparameters"] == asdict(wanted) | {
        name: report["hyperparameters"][name] for name in ("epsilon", "rate")
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [([1], "no JSON object"), ({"speed": 1}, "unknown hyper-parameter speed"),
     ({"queries": "8"}, "of another type"), ({"rate": -1}, "expected positive numbers")],
)  # fmt: skip
def test_changes_that_are_none_are_refused(
    native: Native, tmp_path: Path, changes: object, words: str
) -> None:
    given = {k: v for k, v in asked(changes=changes).items() if k != "hyper"}
    with pytest.raises(NativeError, match=words) as caught:
        native("fit", tmp_path, **given)
    assert caught.value.kind == "usage"
