"""Starts of several blocks: the gate that a population shares, from users to a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from tiny import CORPUS

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.errors import UsageError
from dsa_edge.examples import Example
from dsa_edge.exporters import export
from dsa_edge.exporters.training.meta import MetaReport, MetaSettings, meta_train
from dsa_edge.exporters.training.meta._host import open_host
from dsa_edge.exporters.training.meta._prompts import Reader
from dsa_edge.gate import Gate, evenness
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.start import load_start, start_info

WORDS = " ".join(CORPUS).split()
RAIN = "Rain fell on the roof all night, and the garden was green: "
FILM = "What a great story, the children laughed and asked for another one! "
SETTINGS = MetaSettings(
    rounds=6, users_per_round=3, inner_steps=3, batch=8, query=8, examples=24, adapt_steps=2,
    snapshots=1, directions=4, unseen=("user0", "user1"),
)  # fmt: skip
LEARNED = replace(SETTINGS, gate="learned")
SPEC = AdapterSpec("core", rank=4, blocks=2)


def user(number: int) -> list[Example]:
    """Two tasks that contradict each other: what a prompt begins with says how it ends."""
    random = Random(number)
    ends = {RAIN: " street sadly", FILM: " early bread"}
    return [
        Example(f"{task}{i} {random.choice(WORDS)}", f"{ends[task]}")
        for i in range(12)
        for task in (RAIN, FILM)
    ]


def crossed(number: int) -> list[Example]:
    """What a prompt looks like, which clusters see, says nothing; a word behind it says its end."""
    random = Random(number)
    ends = {" film" * 4: " street sadly", " warm" * 4: " early bread"}
    return [
        Example(f"{task}{i} {random.choice(WORDS)}{mark}", ends[mark])
        for i in range(6)
        for task in (RAIN, FILM)
        for mark in ends
    ]


CROSSED = {f"user{number}": crossed(number) for number in range(6)}
USERS = {f"user{number}": user(number) for number in range(6)}


@pytest.fixture(scope="module")
def base(tiny_checkpoint: Callable[[str], Path]) -> Path:
    return tiny_checkpoint("llama")


@pytest.fixture(scope="module")
def learned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> MetaReport:
    out = tmp_path_factory.mktemp("meta") / "start.safetensors"
    return meta_train(base, USERS, out, SETTINGS, SPEC)


def test_the_gate_of_a_start_tells_the_tasks_of_its_population_apart(learned: MetaReport) -> None:
    gate = load_start(learned.start).gate
    assert gate is not None
    assert gate.served == learned.served == (48, 48)  # of 24 prompts of 4 seen users
    assert start_info(learned.start)["served"] == [48, 48]  # type: ignore[index]
    worth = learned.judged
    assert worth.start < worth.zero - 0.2
    assert worth.start_steps < worth.zero_steps


def test_gradients_are_those_of_the_blocks_that_serve(base: Path, learned: MetaReport) -> None:
    gate = load_start(learned.start).gate
    host = open_host(base, SPEC, "int8", "cpu")
    prompts, index = Reader(host).prompts(USERS["user0"][::2]), np.arange(6)
    prompts.route_by(gate)
    random = torch.Generator().manual_seed(0)
    theta = 0.05 * torch.randn(host.model.size, generator=random)
    given = theta.clone().requires_grad_()
    gradient = torch.autograd.grad(prompts.loss(given, index), given)[0]
    z = torch.randn(host.model.size, generator=random)
    with torch.no_grad():
        up, down = (float(prompts.loss(theta + h * z, index)) for h in (1e-3, -1e-3))
    assert float(gradient @ z) == pytest.approx((up - down) / 2e-3, rel=0.02)
    assert (gradient == 0).float().mean() == pytest.approx(0.5, abs=0.01)  # one task, one block


def test_a_run_that_stops_goes_on_with_its_gate(
    base: Path, learned: MetaReport, tmp_path: Path
) -> None:
    _stopped(base, tmp_path / "cut.safetensors", SETTINGS)
    again = meta_train(base, USERS, tmp_path / "cut.safetensors", SETTINGS, SPEC)
    assert load_start(again.start).id == load_start(learned.start).id
    assert again.served == learned.served


def _stopped(base: Path, out: Path, settings: MetaSettings) -> None:
    def stop(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meta_train(base, USERS, out, settings, SPEC, on_part=stop)


def test_a_gate_that_learns_goes_on_to_the_same_bits(base: Path, tmp_path: Path) -> None:
    whole = meta_train(base, USERS, tmp_path / "whole.safetensors", LEARNED, SPEC)
    _stopped(base, tmp_path / "cut.safetensors", LEARNED)
    again = meta_train(base, USERS, tmp_path / "cut.safetensors", LEARNED, SPEC)
    assert load_start(again.start).id == load_start(whole.start).id
    assert again.served == whole.served
    assert sum(again.served) == 96


@pytest.mark.parametrize("seed", range(5))
def test_learning_the_gate_along_is_stable(seed: int, base: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, seed=seed, rounds=16, rate=2.0, directions=0, gate_rate=100)
    fixed, moved = (
        meta_train(base, CROSSED, tmp_path / f"{gate}.safetensors", each, SPEC)
        for gate in ("clusters", "learned")
        for each in (replace(settings, gate=gate),)
    )
    assert evenness(moved.served) >= 0.3
    # At 12 times the usual rate routes move within these few rounds, and blocks follow. Of what a
    # start is worth (2.2 nats) a twentieth may go to that and to chance: 16 texts of 2 users judge.
    # Measured: 0.2 to 3.1 % (nothing at the usual rate; at 25 times, 8.5 % with one seed of five).
    worth = fixed.judged.zero - fixed.judged.start
    assert moved.judged.start <= fixed.judged.start + 0.05 * worth
    assert moved.judged.start_steps <= fixed.judged.start_steps + 0.05 * worth


def test_a_gate_to_learn_needs_blocks(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected several to choose from"):
        meta_train(base, USERS, tmp_path / "s.safetensors", LEARNED, AdapterSpec(rank=4))
    with pytest.raises(UsageError, match="expected clusters or learned"):
        MetaSettings(gate="scratch")


def test_fomaml_trains_the_blocks_too(base: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, method="fomaml", rate=0.01)
    worth = meta_train(base, USERS, tmp_path / "f.safetensors", settings, SPEC).judged
    assert worth.start < worth.zero - 0.2


def test_a_new_user_begins_with_the_gate_of_the_population(
    base: Path, learned: MetaReport, tmp_path: Path
) -> None:
    start = load_start(learned.start)
    assert start.gate is not None
    path = tmp_path / "learned.dsa"
    export(base, path, adapter=SPEC, accuracy_level=0, start=learned.start)
    with Personalizer.open(path, tmp_path / "me") as me:
        _same(me.adapter.gate, start.gate)
        zero = Adapter(np.zeros_like(start.vector), gate=start.gate)
        without, begun = me.evaluate(USERS["user0"], [zero, 0])
        assert begun.loss < without.loss - 0.2
        report = me.fit(USERS["user0"], Budget(steps=4))
        assert report.routes == (12, 12)
        me.fit(USERS["user0"][:1] * 8 + USERS["user1"], Budget(steps=8))
        _same(me.adapter.gate, start.gate)
        me.forget()
        _same(me.adapter.gate, start.gate)
        np.testing.assert_array_equal(me.adapter.vector, start.vector)


def _same(found: Gate | None, wanted: Gate) -> None:
    assert found is not None
    np.testing.assert_array_equal(found.table, wanted.table)
