"""Rounds of Flower's apps in this process: learning, bytes, failures, poison."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowd import WORDS, asked_of, clients, stub_base, unseen_loss, user

from dsa_edge.errors import AdapterError, FederationError, UsageError
from dsa_edge.runtime import Example, SharedBase
from dsa_edge.runtime.federated import Limits, Round
from dsa_edge.start import Start, load_start, save_start

flwr = pytest.importorskip("flwr", reason="needs Flower: pip install 'dsa-edge[federated]'")
from flwr.app import (  # noqa: E402
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg  # noqa: E402
from rounds import Run, zero_of  # noqa: E402

from dsa_edge.runtime.federated import LocalGrid, client_app, sampling, server_app  # noqa: E402

Answering = Callable[[Message, Context], Message | None]


@pytest.fixture(scope="module")
def base(bundle: Path) -> SharedBase:
    return stub_base(bundle)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What Flower's logger says."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("flwr").addHandler(handler)
    yield said
    logging.getLogger("flwr").removeHandler(handler)


@pytest.mark.parametrize("kind", ["sums", "journals"])
def test_a_start_from_rounds_helps_users_that_were_in_none(
    base: SharedBase, tmp_path: Path, kind: str
) -> None:
    run = Run(base, tmp_path, clients(base, 6), rounds=10, kind=kind)
    before, after = unseen_loss(base, zero_of(base)), unseen_loss(base, run.start)
    assert after < 0.7 * before


def test_clients_learn_with_the_real_engine(bundle: Path, tmp_path: Path) -> None:
    with SharedBase.open(bundle, threads=1) as base:
        run = Run(base, tmp_path, clients(base, 2), rounds=2)
        assert unseen_loss(base, run.start) < unseen_loss(base, zero_of(base))


def test_an_update_takes_less_than_a_kilobyte_and_holds_no_text(
    base: SharedBase, tmp_path: Path
) -> None:
    replies: list[bytes] = []
    honest = clients(base, 1)[0]

    def watched(message: Message, context: Context) -> Message:
        reply = honest(message, context)
        replies.append(repr(reply.content).encode())
        return reply

    asked = asked_of(base, steps=32)
    grid = LocalGrid([watched] * 3)
    grid.serve(server_app(base.bundle.path, tmp_path / "s", 2, 3, asked=asked))
    assert len(grid.traffic.up) == 6
    assert max(grid.traffic.up) <= 1024
    assert max(grid.traffic.down) <= 2 * base.bundle.manifest.adapter_size + 1024
    assert not [word for word in WORDS if word.encode() in b"".join(replies)]


def test_the_same_seed_gives_the_same_start_to_the_bit(base: SharedBase, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = [Run(base, tmp_path / name, clients(base, 3)).start for name in "ab"]
    np.testing.assert_array_equal(*found)


def test_rounds_go_on_from_the_file_that_is_there(base: SharedBase, tmp_path: Path) -> None:
    once = Run(base, tmp_path, clients(base, 3), rounds=1).start
    more = Run(base, tmp_path, clients(base, 3), rounds=1).start
    assert unseen_loss(base, more) < unseen_loss(base, once)


def test_a_start_of_another_bundle_is_refused_before_any_round(
    base: SharedBase, tmp_path: Path
) -> None:
    file = tmp_path / "start.safetensors"
    manifest, zero = base.bundle.manifest, zero_of(base)
    none = np.zeros((0, zero.size), dtype=np.float16)
    save_start(file, Start(zero, none, "f" * 64, manifest.adapter, manifest.base.sha256, 0))
    with pytest.raises(AdapterError, match="bundle"):
        server_app(base.bundle.path, file)
    assert file.is_file()


def test_a_server_for_no_clients_is_refused(base: SharedBase, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sample 0"):
        server_app(base.bundle.path, tmp_path / "s", sample=0)
    with pytest.raises(FederationError, match="server and clients need the same bundle"):
        server_app(base.bundle.path, tmp_path / "s", asked=Round("b" * 64))


# What may come instead of an update, and what the log says of it.


def silent(message: Message, context: Context) -> None:
    """A client that dropped out, or is too late: Flower tells these two from nothing."""


def replying(change: Callable[[ConfigRecord], object]) -> Callable[[SharedBase], Answering]:
    """An honest client whose reply is changed on the way."""

    def made(base: SharedBase) -> Answering:
        honest = clients(base, 1)[0]

        def answer(message: Message, context: Context) -> Message:
            reply = honest(message, context)
            change(reply.content["update"])
            return reply

        return answer

    return made


def sending(content: RecordDict) -> Callable[[SharedBase], Answering]:
    return lambda base: lambda message, context: Message(content, reply_to=message)


def _nan(record: ConfigRecord) -> None:
    record["values"] = np.full(64, np.nan, np.float32).tobytes()


NAN = ArrayRecord({"update": Array(np.full(64, np.nan, np.float32))})
BAD: dict[str, tuple[Callable[[SharedBase], Any], str]] = {
    "silent": (lambda base: silent, ""),
    "error": (
        lambda base: lambda message, context: Message(Error(2, "out of battery"), reply_to=message),
        "out of battery",
    ),
    "nan": (replying(_nan), "its values are 256 bytes, expected 128 bytes"),
    "nan arrays": (
        sending(RecordDict({"arrays": NAN, "metrics": MetricRecord({"num-examples": 10**9})})),
        "it sent ['arrays', 'metrics'], expected 'update' alone",
    ),
    "bundle": (replying(lambda r: r.update({"bundle": "f" * 16})), "it is of bundle ffff"),
    "version": (replying(lambda r: r.update({"format": 7})), "its format is 7, expected 1"),
    "shape": (replying(lambda r: r.update({"values": b"\1" * 9})), "its values are 9 bytes"),
    "nothing": (sending(RecordDict()), "it sent [], expected 'update' alone"),
    "too large": (
        replying(lambda r: r.update({"values": b"\xff\x7f" * 64})),
        "its norm is 8, this round's limit is",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_the_round_goes_on_without_a_client_that_cannot(
    base: SharedBase, tmp_path: Path, lines: list[str], name: str
) -> None:
    bad, why = BAD[name]
    run = Run(base, tmp_path, [*clients(base, 4), bad(base)], rounds=1)
    assert unseen_loss(base, run.start) < unseen_loss(base, zero_of(base))
    refused = [line for line in lines if "is left out" in line]
    assert len(refused) == (name != "silent")
    assert all(line.startswith(f"round 1: client 5 is left out: {why}") for line in refused)


def test_without_updates_the_start_stays(
    base: SharedBase, tmp_path: Path, lines: list[str]
) -> None:
    run = Run(base, tmp_path, [*clients(base, 1), silent, silent], rounds=1)
    assert not run.file.exists()
    assert any("1 updates are too few, the start stays" in line for line in lines)


def poison(base: SharedBase) -> Answering:
    """An honest client's update, backwards and as large as passes for ordinary."""

    def turned(record: ConfigRecord) -> None:
        values = np.frombuffer(record["values"], "<i2").astype(np.float64)
        record["values"] = np.clip(-2.5 * values, -32767, 32767).astype("<i2").tobytes()

    return replying(turned)(base)


def test_a_trimmed_mean_and_a_median_bear_poison_that_ruins_a_mean(
    base: SharedBase, tmp_path: Path
) -> None:
    found = {}
    strategies = {
        "mean": FedAvg(**sampling(10)),
        "trimmed": FedTrimmedAvg(**sampling(10), beta=0.3),
        "median": FedMedian(**sampling(10)),
    }
    crowd = [*clients(base, 7), *[poison(base)] * 3]  # three times as many as the issue asks
    for name, inner in strategies.items():
        (tmp_path / name).mkdir()
        run = Run(base, tmp_path / name, crowd, rounds=4, inner=inner)
        found[name] = unseen_loss(base, run.start)
    assert max(found["trimmed"], found["median"]) < 0.9 * unseen_loss(base, zero_of(base))
    assert max(found["trimmed"], found["median"]) < found["mean"]


@pytest.mark.parametrize("request_", ["query", "evaluate", "query.examples", "train.texts"])
def test_there_is_no_request_for_data(base: SharedBase, request_: str) -> None:
    LocalGrid([])
    ask = Message(RecordDict({"round": ConfigRecord({"send": "texts"})}), 1, request_)
    reply = clients(base, 1)[0](ask, context())
    assert reply.has_error()
    assert not reply.has_content()
    assert f"there is no request '{request_}'" in str(reply.error.reason)


@pytest.mark.parametrize("content", [{}, {"round": {"format": 1}}, {"texts": {"all": True}}])
def test_a_request_to_train_that_says_something_else_gets_a_reason(
    base: SharedBase, content: dict[str, dict[str, Any]]
) -> None:
    LocalGrid([])
    records = RecordDict({name: ConfigRecord(told) for name, told in content.items()})
    reply = clients(base, 1)[0](Message(records, 1, "train"), context())
    assert "request" in str(reply.error.reason)


def test_a_failure_on_the_device_tells_the_server_its_kind_alone(
    base: SharedBase, tmp_path: Path, lines: list[str]
) -> None:
    secret = Example("my secret " * 200, " a", (" a", " b"))
    app = client_app(lambda context: (base, [secret, *user(1)]))
    Run(base, tmp_path, [*clients(base, 3), app], rounds=1)
    assert any("client 4 is left out: it left the round with ExampleError" in s for s in lines)
    assert not [line for line in lines if "is left out" in line and "token" in line]


def test_a_client_stops_after_its_rounds(
    base: SharedBase, tmp_path: Path, lines: list[str]
) -> None:
    Run(base, tmp_path, clients(base, 2, limits=Limits(rounds=1)), rounds=2)
    assert sum("has done 1 rounds, which is all it does" in line for line in lines) == 2


def test_a_users_own_adapter_and_store_stay_as_they_were(bundle: Path, tmp_path: Path) -> None:
    base = stub_base(bundle)
    with base.user(tmp_path / "me") as me:
        me.fit(user(1), remember=True)
        mine, history = me.adapter.vector.copy(), me.history()
        app = client_app(lambda context: (base, list(me.remembered().values())))
        run = Run(base, tmp_path, [app] * 2, rounds=1)
        assert run.start.any()
        np.testing.assert_array_equal(me.adapter.vector, mine)
        assert me.history() == history


def context() -> Context:
    return Context(1, 1, {"partition-id": 0}, RecordDict(), {})


def test_a_start_that_was_made_together_fits_the_next_bundle(
    base: SharedBase, tmp_path: Path
) -> None:
    run, manifest = Run(base, tmp_path, clients(base, 3), rounds=1), base.bundle.manifest
    start = load_start(run.file)
    start.check_spec(manifest.adapter, manifest.base.sha256, manifest.adapter_size)
    start.check(manifest.identity)
    assert start.vector.any()
    assert start.directions.shape == (0, manifest.adapter_size)
