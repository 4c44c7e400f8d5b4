"""Rounds and updates: what is sent, what a server makes of it, and what either side refuses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from crowd import asked_of, stub_base, user

from dsa_edge.errors import FederationError, MissingDependencyError, UsageError
from dsa_edge.runtime import Budget, SharedBase, federated
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime.federated import Limits, Round, local_update
from dsa_edge.runtime.federated._local import check_bundle, packed_start, read_start
from dsa_edge.runtime.federated._update import (
    Update,
    journal_move,
    packed,
    read_update,
    sum_move,
    update_of,
)

NODE = 3


@pytest.fixture(scope="module")
def base(bundle: Path) -> SharedBase:
    return stub_base(bundle)


def told_of(update: Update, asked: Round) -> dict[str, object]:
    """What an honest client says."""
    return {
        "format": 1, "bundle": asked.bundle[:16], "values": packed(update.values),
        "share": update.share, "steps": update.steps,
    }  # fmt: skip


def moved_by_fit(base: SharedBase, start: np.ndarray, asked: Round) -> np.ndarray:
    """By what the same fit moves a user's adapter on the device."""
    from dsa_edge.adapter import Adapter

    with base.user(None) as me:
        me.use_adapter(Adapter(start))
        me.fit(user(1), Budget(steps=asked.steps), None, asked.hyper, asked.seed_of(NODE))
        return me.replay([asked.steps])[0].vector - start


@pytest.mark.parametrize("kind", ["sums", "journals"])
def test_the_server_makes_of_512_bytes_the_move_that_the_client_made(
    base: SharedBase, kind: str
) -> None:
    asked = asked_of(base, kind, steps=32).at(1)
    start = np.full(base.bundle.manifest.adapter_size, 0.01, np.float32)
    update = local_update(base, user(1), start, asked, NODE)
    assert len(packed(update.values)) == 512
    read = read_update(told_of(update, asked), asked)
    if kind == "sums":
        found = sum_move(read.values, asked, start.size)
    else:
        found = journal_move(read, start, asked, NODE, ())
    expected = moved_by_fit(base, start, asked)
    assert np.linalg.norm(expected) > 0.01
    # int16 rounds a scalar by up to clip / 65534, 3e-4 of the largest.
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_sums_are_linear_so_that_a_server_needs_only_their_sum(base: SharedBase) -> None:
    asked = asked_of(base)
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, asked.size)).astype(np.float32)
    together = sum_move(a + b, asked, 300)
    apart = sum_move(a, asked, 300) + sum_move(b, asked, 300)
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_directions_of_sums_are_everyones_and_new_in_each_round(base: SharedBase) -> None:
    sums, journals = asked_of(base).at(1), asked_of(base, "journals").at(1)
    assert sums.seed_of(1) == sums.seed_of(2) != sums.at(2).seed_of(1)
    assert journals.seed_of(1) != journals.seed_of(2)


def test_scalars_beyond_the_clip_count_as_the_clip() -> None:
    asked = Round("b" * 64, steps=1, queries=2, clip=0.5)
    update = update_of([Step(asked.rate, np.array([9, -0.25], np.float32))], asked)
    np.testing.assert_allclose(update.values, [1, -0.5])
    assert np.frombuffer(packed(update.values), "<i2").tolist() == [32767, -16384]


def test_other_pairs_weigh_more_where_one_was_lost() -> None:
    asked = Round("b" * 64, steps=1, queries=2)
    update = update_of([Step(asked.rate, np.array([1, np.nan], np.float32))], asked)
    np.testing.assert_allclose(update.values, [1, 0])  # twice 1, over the clip of 2


def test_a_client_without_a_finite_loss_sends_nothing(bundle: Path) -> None:
    broken = stub_base(bundle, broken=True)
    start = np.zeros(broken.bundle.manifest.adapter_size, np.float32)
    with pytest.raises(FederationError, match="nothing"):
        local_update(broken, user(1), start, asked_of(broken), NODE)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"format": 2}, "format is 2, expected 1"),
        ({"bundle": "f" * 16}, "of bundle ffffffffffffffff"),
        ({"bundle": None}, "of bundle None"),
        ({"values": b""}, "values are 0 bytes"),
        ({"values": b"\0" * 130}, "expected 128 bytes"),
        ({"values": [1.0] * 64}, "values are list"),
        ({"values": None}, "values are NoneType"),
        ({"values": b"\0" * 128}, "all zero"),
        ({"values": b"\0\x80" * 64}, "−32768"),
        ({"share": float("nan")}, "share of the rate is nan"),
        ({"share": 1e9}, "share of the rate"),
        ({"share": "1"}, "share of the rate"),
        ({"steps": 0}, "took 0 steps"),
        ({"steps": 10**12}, "expected 1 to 8"),
        ({"steps": 1.5}, "took 1.5 steps"),
    ],
)
def test_a_reply_that_is_no_update_is_refused_with_a_reason(
    base: SharedBase, wrong: dict[str, object], why: str
) -> None:
    asked = asked_of(base)
    honest = told_of(Update(np.full(asked.size, 0.5, np.float32)), asked)
    assert read_update(honest, asked).values.size == 64
    with pytest.raises(FederationError, match=why):
        read_update({**honest, **wrong}, asked)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"format": 2}, "format 2"),
        ({"kind": "texts"}, "expected one of sums, journals"),
        ({"steps": 10**9}, "expected 1 to 4096 scalars"),
        ({"steps": -1}, "expected 1 to 4096 scalars"),
        ({"steps": "8"}, "lacks steps"),
        ({"seed": None}, "lacks seed"),
        ({"seed": -1}, "seed -1"),
        ({"epsilon": float("nan")}, "not finite"),
        ({"rate": -1.0}, "rate is -1"),
        ({"clip": 0.0}, "clip is 0"),
        ({"smoothing": 2.0}, "smoothing is 2"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(wrong: dict[str, object], why: str) -> None:
    asked = Round("b" * 64)
    assert Round.from_dict(asked.to_dict()) == asked
    with pytest.raises(FederationError, match=why):
        Round.from_dict({**asked.to_dict(), **wrong})


@pytest.mark.parametrize(
    ("limits", "done", "why"),
    [
        (Limits(rounds=3), 3, "has done 3 rounds"),
        (Limits(steps=7), 0, "8 steps were asked for"),
        (Limits(queries=7), 0, "8 queries were asked for"),
        (Limits(batch=15), 0, "16 batch"),
    ],
)
def test_a_client_does_no_more_than_its_limits(limits: Limits, done: int, why: str) -> None:
    Limits().check(Round("b" * 64), 0)
    with pytest.raises(FederationError, match=why):
        limits.check(Round("b" * 64), done)


def test_a_start_is_float16_and_must_be_whole_and_finite() -> None:
    start = np.linspace(-1, 1, 300, dtype=np.float32)
    sent = packed_start(start)
    np.testing.assert_allclose(read_start(sent, 300), start, atol=5e-4)  # half a step of float16
    for wrong in (sent[:-1], None, [0.5] * 300, np.full(300, np.inf, np.float16).tobytes()):
        with pytest.raises(FederationError, match="the start"):
            read_start(wrong, 300)


def test_another_bundle_is_named(base: SharedBase) -> None:
    with pytest.raises(FederationError, match="bbbbbbbbbbbb…"):
        check_bundle(base.bundle.manifest, Round("b" * 64))


def test_bundles_of_several_blocks_are_refused(base: SharedBase) -> None:
    manifest = base.bundle.manifest
    gated = replace(manifest, adapter=replace(manifest.adapter, blocks=4))
    with pytest.raises(FederationError, match="4 blocks"):
        check_bundle(gated, Round(gated.identity))


def test_kinds_are_checked_where_they_are_made() -> None:
    with pytest.raises(UsageError, match="expected one of sums, journals"):
        Round.suited("b" * 64, "text")


def test_without_flower_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "flwr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.delitem(sys.modules, "dsa_edge.runtime.federated._client", raising=False)
    with pytest.raises(MissingDependencyError, match=r"dsa-edge\[federated\]"):
        _ = federated.client_app
