"""Peers learn what they are said to learn, from the same tokens; the page tells of all of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import _contract
import _examples
import mezo
import ours
import own_core
import peft_lora
import pytest
import replicated_lanes
import run as frame
import torch
from _contract import Job
from _examples import TASKS, _row, read_examples, write_task
from _learning import learned
from _report import reached, write_report
from _sentences import Batch
from _tasks import Task
from stub import COMMON, EXAMPLES

from dsa_edge.bundle import Bundle
from dsa_edge.examples import Example
from dsa_edge.runtime._encode import Encoder
from dsa_edge.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning"),
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),
]

FREE = [Example(COMMON + "and", " the garden was green"), Example("He did", " not like it")]


@pytest.fixture(scope="module")
def jobs(
    bundle: Path, tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Job]]:
    """A job with choices and one with free responses, on the tiny Llama."""
    opened = Bundle.open(bundle, check_hashes=False)
    encoder, folder = Encoder(Tokenizer.of(opened), opened.manifest), tmp_path_factory.mktemp("t")
    made = {}
    for name, examples in (("choices", EXAMPLES), ("free", FREE)):
        rows = [_row(example, encoder.encode(example)) for example in examples]
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"learn": rows * 4, "held": rows}))
        made[name] = Job(
            "peer", str(path), str(tiny_checkpoint("llama")), str(bundle), steps=6, threads=1
        )
    threads = torch.get_num_threads()
    yield made
    torch.set_num_threads(threads)


def asked(job: Job, **settings: Any) -> Job:
    return replace(job, settings=settings)


@pytest.mark.parametrize("sort", ["choices", "free"])
def test_the_same_base_has_the_same_losses_for_every_peer(jobs: dict[str, Job], sort: str) -> None:
    job = replace(jobs[sort], steps=1)
    whole = learned(job, peft_lora.PeftLora(asked(job, rate=1e-3)))["points"][0]
    core = own_core.run(asked(job, steps=1))["points"][0]
    device = ours.run(asked(job, steps=1))["points"][0]
    assert core["loss"] == pytest.approx(device["loss"], abs=1e-3)
    # Judged in bfloat16, and from weights in 4 bits on our side.
    assert whole["loss"] == pytest.approx(device["loss"], abs=0.3)
    assert (whole["accuracy"] is None) == (sort == "free") == (device["accuracy"] is None)


@pytest.mark.parametrize("sort", ["choices", "free"])
def test_first_order_learns_and_checkpoints_change_no_update(
    jobs: dict[str, Job], sort: str
) -> None:
    job = jobs[sort]
    plain, again = (
        peft_lora.PeftLora(asked(job, rate=1e-2, checkpointing=how)) for how in (False, True)
    )
    result = learned(asked(job, rate=1e-2), plain)
    assert result["points"][-1]["loss"] < result["points"][0]["loss"]
    assert [point["step"] for point in result["points"]][:1] == [0]
    assert result["steps"] == 6
    assert result["size"] * 4 < result["user_bytes"] < result["size"] * 4 + 20_000
    for _ in range(6):
        again.step()
    for name, values in plain.snapshot().items():
        torch.testing.assert_close(again.snapshot()[name], values, atol=1e-5, rtol=1e-4)


def test_mezo_walks_back_to_where_it_was_but_for_its_step(jobs: dict[str, Job]) -> None:
    peer = mezo.Mezo(asked(jobs["choices"], rate=0.0, epsilon=1e-2))
    before = peer.snapshot()
    assert peer.step() > 0
    for name, values in peer.snapshot().items():
        torch.testing.assert_close(values, before[name], atol=1e-6, rtol=1e-5)
    moving = mezo.Mezo(asked(jobs["choices"], rate=1e-2, epsilon=1e-2))
    moving.step()
    assert any((values != before[name]).any() for name, values in moving.snapshot().items())
    assert "8 bytes" in moving.notes


def test_lanes_in_one_forward_are_those_of_one_forward_each(jobs: dict[str, Job]) -> None:
    job = asked(jobs["free"], rate=1e-2, epsilon=1e-2, queries=2)
    peer = replicated_lanes.ReplicatedLanes(job)
    batch = Batch.of(peer.learn[:2])
    torch.manual_seed(0)
    for lane in peer._lanes:
        lane.lanes = 0.1 * torch.randn(4, *lane.weight.shape)
    with torch.no_grad():
        together = peer._lane_losses(batch)
        for index in range(4):
            for lane in peer._lanes:
                lane.weight.copy_(lane.lanes[index])  # type: ignore[index]
            kept, alone = [lane.lanes for lane in peer._lanes], 0.0
            for lane in peer._lanes:
                lane.lanes = None
            alone = float(peer.losses(batch).mean())
            for lane, lanes in zip(peer._lanes, kept, strict=True):
                lane.lanes = lanes
            assert float(together[index]) == pytest.approx(alone, abs=1e-5)
    assert together.std() > 1e-4


def test_replicated_lanes_learn(jobs: dict[str, Job]) -> None:
    job = replace(asked(jobs["free"], rate=0.03, epsilon=1e-2, queries=4), steps=20)
    peer = replicated_lanes.ReplicatedLanes(job)
    result = learned(job, peer)
    assert result["points"][-1]["loss"] < result["points"][0]["loss"]
    assert result["user_bytes"] == 4 * result["size"]


@pytest.mark.parametrize("peer", [ours, own_core], ids=["ours", "own core"])
def test_a_fit_is_told_along_its_steps(jobs: dict[str, Job], peer: Any) -> None:
    result = peer.run(asked(jobs["choices"], steps=5))
    for what in ("step", "seconds", "cpu_seconds", "tokens"):
        values = [point[what] for point in result["points"]]
        assert values == sorted(values)
    assert result["points"][-1]["step"] == result["steps"] == 5
    assert result["peak_mb"] >= result["loaded_mb"] > 0


def test_a_bounded_fit_ends_with_its_time(jobs: dict[str, Job]) -> None:
    result = ours.run(replace(asked(jobs["free"], steps=100_000, bounded=True), seconds=1.0))
    assert 0 < result["steps"] < 100_000


def test_a_task_is_written_anew_for_other_numbers_of_texts(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task("posts", tuple(FREE * 4), tuple(FREE * 2), (), ())
    monkeypatch.setattr(_examples, "load_task", lambda *_: task)
    for learn, held in ((4, 2), (8, 3)):
        monkeypatch.setitem(TASKS, "multi", replace(TASKS["multi"], learn=learn, held=held))
        path = write_task("multi", bundle, 0, tmp_path)
        assert tuple(map(len, read_examples(str(path)))) == (learn, held)


def test_the_contract_needs_nothing_but_the_standard_library() -> None:
    imported = [
        line.split()[1].split(".")[0]
        for line in Path(_contract.__file__).read_text().splitlines()
        if line.startswith(("import ", "from "))
    ]
    assert set(imported) - {"__future__"} <= sys.stdlib_module_names


def point(step: int, seconds: float, accuracy: float | None, loss: float | None = 0.5) -> Any:
    spent = {"cpu_seconds": 2 * seconds, "tokens": round(10 * seconds)}
    return {"step": step, "seconds": seconds, "accuracy": accuracy, "loss": loss, **spent}


def made_run(peer: str, *points: Any, task: str = "short", **more: Any) -> dict[str, Any]:
    return {
        "key": peer + task, "peer": peer, "task": task, "seed": 0, "machine": "a machine",
        "load": 1.0, "points": list(points), "peak_mb": 100.0, "loaded_mb": 50.0, "steps": 4,
        "user_bytes": 1000, "notes": "", "size": 1, **more,
    }  # fmt: skip


RUNS = [
    made_run("peft", point(0, 0, 0.5), point(2, 20, 0.8), point(4, 40, 1.0), peak_mb=400.0),
    made_run("ours", point(0, 0, 0.5), point(9, 5, 0.95), point(20, 8, 0.96)),
    made_run("mezo", point(0, 0, 0.5), point(90, 100, 0.6)),
    made_run("peft-checkpointing", point(2, 30, None, None)),
]


def test_targets_are_shares_of_the_largest_gain() -> None:
    peft, mine, walked, checkpointed = RUNS
    assert reached(peft, RUNS, 0.8, "seconds") == 40  # 0.9 is passed at the second look
    assert reached(mine, RUNS, 0.8, "cpu_seconds") == 10
    assert reached(mine, RUNS, 0.95, "seconds") is None
    assert reached(walked, RUNS, 0.8, "seconds") is None
    assert reached(checkpointed, RUNS, 0.8, "seconds") == 60  # the steps of the other, at its pace
    assert reached(mine, [mine, walked], 0.8, "seconds") == 5  # nobody gained more


def test_the_page_tells_who_wins(tmp_path: Path) -> None:
    speed = {"prompt": [100.0, 110.0], "generate": [30.0], "switch_ms": None}
    more = {"load_seconds": 0.1, "bytes": 98e6, "notes": "the base alone"}
    before = made_run("ours", point(0, 0, 0.5), point(9, 1, 0.6))
    page = write_report(
        [before, *RUNS, made_run("llama-cpp", task="speed", **{**speed, **more})], tmp_path
    )
    assert page.count("| dsa-edge, defaults |") == 2  # its results, and what it needs
    assert page == (tmp_path / "peers.md").read_text()
    assert "| dsa-edge, defaults | 0.960 | 5.0 | 10 | not in 8 |" in page
    assert "`ours` / `peft`: 0.12 of its time to 80%, memory 0.25" in page
    assert "`ours` / `mezo`: less than 0.05 of its time to 80%, where it never was" in page
    assert "| llama.cpp | 105 ± 7 | 30 ± 0 | – |" in page
    assert len(json.loads((tmp_path / "peers.json").read_text())) == 5
    assert "<polyline" in (tmp_path / "peers-short.svg").read_text()
    assert all(f"*{name.capitalize()}*" in page for name in TASKS)


def test_what_is_there_is_not_run_again_and_what_fails_is_told(
    tmp_path: Path, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def call(python: str, peer: Any, job: Job) -> dict[str, Any] | str:
        calls.append(peer.name)
        found = made_run(peer.name, point(1, 2, 0.7))
        del found["key"]
        return "ValueError: no" if peer.name == "mezo" else found

    monkeypatch.setattr(frame, "call", call)
    monkeypatch.setattr(frame, "job_of", lambda peer, *_: replace(jobs["choices"], peer=peer.name))
    options = f"--tasks short --peers ours,mezo --python here --out {tmp_path} --results {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["run.py", *options.split()])
    for _ in range(2):
        with pytest.raises(SystemExit, match="MeZO on short failed: ValueError: no"):
            frame.main()
    assert calls == ["ours", "mezo", "mezo"]


def test_a_peer_that_cannot_start_says_why(jobs: dict[str, Job]) -> None:
    peer = replace(frame.PEERS[0], script="nowhere")
    assert "nowhere.py" in str(frame.call(sys.executable, peer, jobs["choices"]))
