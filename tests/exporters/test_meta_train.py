"""Meta-training on a tiny base: the loss, what a start is worth, resuming, and the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CORPUS

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError, ExampleError, UsageError
from dsa_edge.examples import Example
from dsa_edge.exporters import export
from dsa_edge.exporters.training.meta import MetaReport, MetaSettings, _learn, meta_train
from dsa_edge.exporters.training.meta._directions import principal
from dsa_edge.exporters.training.meta._host import open_host
from dsa_edge.exporters.training.meta._prompts import Reader
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.start import load_start

WORDS = " ".join(CORPUS).split()
UNSEEN = ("user0", "user1")
SETTINGS = MetaSettings(
    rounds=6, users_per_round=3, inner_steps=3, batch=8, query=8, examples=24, adapt_steps=4,
    snapshots=2, directions=8, unseen=UNSEEN,
)  # fmt: skip
SPEC = AdapterSpec(rank=4)


def user(number: int) -> list[Example]:
    """What a user says ends with a word of his own, and begins with one that all of them share."""
    random = Random(number)
    own = random.choice(WORDS)
    return [Example(f"say {random.choice(WORDS)}", f" street {i} {own}") for i in range(20)]


USERS = {f"user{number}": user(number) for number in range(6)}


@pytest.fixture(scope="module")
def base(tiny_checkpoint: Callable[[str], Path]) -> Path:
    return tiny_checkpoint("llama")


@pytest.fixture(scope="module")
def learned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> MetaReport:
    out = tmp_path_factory.mktemp("meta") / "start.safetensors"
    return meta_train(base, USERS, out, SETTINGS, SPEC)


@pytest.mark.parametrize(
    ("answer", "choices"),
    [
        (" great film", ()),
        (" a", (" a", " b")),
        (" great film", (" great film", " bad", " the last one")),
    ],
)
def test_the_loss_is_the_one_that_a_device_minimizes(
    bundle: Path, answer: str, choices: tuple[str, ...]
) -> None:
    given = [Example(f"say {word} and", answer, choices) for word in WORDS[:6]]
    host = open_host(bundle, None, None, "cpu")
    theta = 0.05 * np.random.default_rng(0).standard_normal(host.model.size).astype(np.float32)
    prompts, index = Reader(host).prompts(given), np.arange(len(given))
    scores = prompts._scores(torch.from_numpy(theta), index)
    losses = [
        -float(s[0]) / float(e.items[0].weights.sum())
        if len(s) == 1
        else float(torch.nn.functional.cross_entropy(s, torch.tensor(e.answer)))
        for s, e in scores
    ]
    with Personalizer.open(bundle) as me:
        (on_device,) = me.evaluate(given, [Adapter(theta)])
    # Both are float32 with float16 caches of the same numbers; sums are in another order.
    assert np.mean(losses) == pytest.approx(on_device.loss, abs=1e-3)


def test_gradients_are_those_of_finite_differences(base: Path) -> None:
    host = open_host(base, SPEC, "int8", "cpu")
    prompts, index = Reader(host).prompts(USERS["user0"]), np.arange(6)
    random = torch.Generator().manual_seed(0)
    theta = 0.05 * torch.randn(host.model.size, generator=random)
    given = theta.clone().requires_grad_()
    gradient = torch.autograd.grad(prompts.loss(given, index), given)[0]
    z = torch.randn(host.model.size, generator=random)
    with torch.no_grad():
        up, down = (float(prompts.loss(theta + h * z, index)) for h in (1e-3, -1e-3))
    assert float(gradient @ z) == pytest.approx((up - down) / 2e-3, rel=0.02)


@pytest.mark.parametrize("method", ["reptile", "fomaml"])
def test_a_start_is_better_than_none_for_users_it_never_saw(
    method: str, base: Path, learned: MetaReport, tmp_path: Path
) -> None:
    report = learned
    if method == "fomaml":
        report = meta_train(base, USERS, tmp_path / "f.safetensors", _fomaml(), SPEC)
    worth = report.judged
    assert (report.seen, report.unseen, worth.users) == (4, 2, 2)
    assert worth.start < worth.zero - 0.2
    assert worth.start_steps < worth.zero_steps - 0.1
    assert report.rounds[-1].before < report.rounds[0].before


def _fomaml() -> MetaSettings:
    return replace(SETTINGS, method="fomaml", rate=0.01)


def test_the_record_says_everything_but_who_the_users_are(learned: MetaReport) -> None:
    record = json.loads(learned.start.with_name("start.run.json").read_text())
    assert record["settings"]["method"] == "reptile"
    assert len(record["rounds"]) == SETTINGS.rounds
    assert record["id"] == load_start(learned.start).id
    assert sum(map(len, record["users"].values())) == 6
    assert "user0" not in json.dumps(record)
    assert not learned.start.with_name("start.state").exists()


def test_unseen_users_change_nothing_of_a_start(
    base: Path, learned: MetaReport, tmp_path: Path
) -> None:
    others = {**USERS, **{name: user(90 + i) for i, name in enumerate(UNSEEN)}}
    again = meta_train(base, others, tmp_path / "other.safetensors", SETTINGS, SPEC)
    assert load_start(again.start).id == load_start(learned.start).id
    assert again.judged != learned.judged


@pytest.mark.parametrize("method", ["reptile", "fomaml"])
@pytest.mark.parametrize("after", [2, 7])  # within the rounds, and among the users adapted then
def test_an_interrupted_run_goes_on_to_the_same_bits(
    method: str, after: int, base: Path, tmp_path: Path
) -> None:
    settings = SETTINGS if method == "reptile" else _fomaml()
    whole = meta_train(base, USERS, tmp_path / "whole.safetensors", settings, SPEC)
    out = tmp_path / "cut.safetensors"

    def stop(done: int, *_: object) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meta_train(base, USERS, out, settings, SPEC, on_part=stop)
    assert not out.exists()
    told: list[int] = []
    again = meta_train(
        base, USERS, out, settings, SPEC, on_part=lambda done, total, _: told.append(done)
    )
    assert told[0] == after + 1
    assert load_start(out).id == load_start(whole.start).id
    assert (again.rounds, again.judged) == (whole.rounds, whole.judged)
    assert not out.with_name("cut.state").exists()


def test_prompts_that_are_run_again_change_nothing(
    base: Path, learned: MetaReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_learn, "MOST_BYTES", 0)
    again = meta_train(base, USERS, tmp_path / "s.safetensors", SETTINGS, SPEC)
    assert load_start(again.start).id == load_start(learned.start).id


def test_a_state_of_another_run_is_not_overwritten(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meta_train(base, USERS, out, SETTINGS, SPEC, on_part=stop)
    with pytest.raises(UsageError, match="left by an interrupted run with other users or settings"):
        meta_train(base, USERS, out, replace(SETTINGS, seed=1), SPEC)
    (tmp_path / "s.state").write_bytes(b"half a file")
    with pytest.raises(AdapterError, match="delete it to begin anew"):
        meta_train(base, USERS, out, SETTINGS, SPEC)


def test_directions_span_the_ways_of_the_users() -> None:
    random = np.random.default_rng(0)
    hidden = random.standard_normal((3, 50)).astype(np.float32)
    points = random.standard_normal((10, 3)).astype(np.float32) @ hidden
    found = principal(points, 8).astype(np.float64)
    assert found.shape == (3, 50)  # no more than there are
    left = points - points @ np.linalg.pinv(found) @ found
    assert np.abs(left).max() < 0.02 * np.abs(points).max()  # float16
    along = points @ np.linalg.pinv(found)
    np.testing.assert_allclose((along**2).mean(0), 1, rtol=0.02)  # a standard deviation each
    assert principal(points, 2).shape == (2, 50)
    assert principal(points[:0], 2).shape == (0, 50)


def test_from_users_to_a_device(base: Path, learned: MetaReport, tmp_path: Path) -> None:
    start = load_start(learned.start)
    path = tmp_path / "learned.dsa"
    report = export(base, path, adapter=SPEC, accuracy_level=0, start=learned.start)
    assert "shipped" in {check.stage for check in report.checks}
    manifest = Bundle.open(path).manifest
    assert manifest.start is not None
    assert (manifest.start.id, manifest.start.users) == (start.id, 4)
    assert manifest.start.directions == learned.directions == 8
    with Personalizer.open(path, tmp_path / "me") as me:
        np.testing.assert_array_equal(me.adapter.vector, start.vector)
        zero = Adapter(np.zeros_like(start.vector))
        without, begun = me.evaluate(USERS["user0"], [zero, 0])
        assert begun.loss < without.loss - 0.2
        me.fit(USERS["user0"], Budget(steps=2))
        me.forget()
        np.testing.assert_array_equal(me.adapter.vector, start.vector)
    again = meta_train(path, USERS, tmp_path / "again.safetensors", SETTINGS)
    assert load_start(again.start).id == start.id  # a bundle holds the base that it was made of


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adapter": AdapterSpec(rank=8)}, "rank 4, this one has 8"),
        ({"adapter": SPEC, "quantize": "int8"}, "quantize and prune as there"),
    ],
)
def test_a_start_of_another_adapter_or_base_is_refused(
    base: Path, learned: MetaReport, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(AdapterError, match=words):
        export(base, tmp_path / "x.dsa", start=learned.start, **changes)
    assert not (tmp_path / "x.dsa").exists()


def test_mistakes_are_told_before_anything_is_learned(
    base: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.safetensors"
    with pytest.raises(UsageError, match=r"expected NAME\.safetensors in a folder"):
        meta_train(base, USERS, tmp_path / "none" / "s.safetensors", SETTINGS)
    long = {**USERS, "ann": [*USERS["user2"], Example("say", " rain" * 200)]}
    with pytest.raises(ExampleError, match=r"user ann, example 21: .* tokens, but this base takes"):
        meta_train(base, long, out, SETTINGS, SPEC)
    with pytest.raises(UsageError, match="device 'tpu' is not here"):
        meta_train(base, USERS, out, SETTINGS, device="tpu")
    with pytest.raises(UsageError, match="is a bundle, which has its own adapter and bits"):
        meta_train(bundle, USERS, out, SETTINGS, SPEC)
