"""Private fits in C++: the noise of Python, accounted anew, and what they must not tell."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_engine import Content
from known_private import VERDICT, private_fit
from native_learn import IDENTITY, Native, NativeError
from test_native_learn import SHAPES, SIZE, labelled, responses, rows, theta

from dsa_edge.runtime._accounting import noise_for, spent
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._optimizer import replay
from dsa_edge.runtime._privacy import Privacy, Spent
from dsa_edge.runtime._store import Store

SEED = 2**62 + 5
PRIVACY = [4.0, 1e-4, 16]


def mixed() -> list[Content]:
    """Two sets of choices, which a private fit learns without biases."""
    both = [c for pair in zip(labelled(), labelled(choices=3), strict=True) for c in pair]
    for content in both[::2]:
        content[1:3] = content[1].replace("b", "q"), [c.replace("b", "q") for c in content[2]]
    return both


def asked(examples: list[Content], hyper: Hyperparameters | None = None, **more: Any) -> Any:
    given = {"theta": theta().tolist(), "shapes": SHAPES, "examples": examples, "seed": SEED}
    return {**given, **({} if hyper is None else {"hyper": asdict(hyper)}), **more}


def distinct(count: int = 160) -> list[Content]:
    """Examples with ids of their own."""
    return [[str(i), " a" if i % 3 else " b", [" a", " b"], False] for i in range(count)]


def same_rows(one: Path, other: Path, exact: bool) -> None:
    """Losses over choices are logarithms in float32, which numpy and the C library round apart."""
    found, wanted = rows(one), rows(other)
    if exact:
        assert found == wanted
    else:
        for row, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(
                np.frombuffer(row, "<f4"), np.frombuffer(expected, "<f4"), rtol=0, atol=1e-5
            )


@pytest.mark.parametrize(
    ("examples", "batch"),
    [(responses(), 10), (labelled(), 10), (labelled(choices=9), 30), (mixed(), 12),
     (labelled(), 1), (responses(), 1)],
)  # fmt: skip
def test_the_same_noise_makes_the_same_journal(
    native: Native, tmp_path: Path, examples: list[Content], batch: int
) -> None:
    """Batches of one example on average are often empty."""
    hyper = replace(Hyperparameters.suited(bool(examples[0][2])), queries=16, batch=batch)
    for noise in (0.6, 3.7):
        there, here = tmp_path / f"python{noise}", tmp_path / f"native{noise}"
        store = Store(there, IDENTITY)
        outcome = private_fit(store, examples, theta(), hyper, 40, SEED, noise, SHAPES)
        store.close()
        more = {"steps": 40, "noise": noise}
        told = native("private_fit", here, **asked(examples, hyper, **more))
        same_rows(here, there, exact=examples != mixed())
        assert (told["verdict"], told["tokens"]) == (outcome.verdict, outcome.tokens)
        if examples != mixed():
            assert told["theta"] == outcome.adapter.tobytes().hex()
        for name in ("before", "after"):  # losses are logarithms in float32, up to their last bit
            wanted = asdict(getattr(outcome, name))
            assert told[name] == {k: pytest.approx(v, abs=1e-6) for k, v in wanted.items()}
        if outcome.bias is not None:
            assert told["bias"] == outcome.bias.tolist()


@pytest.mark.parametrize("writer", ["python", "native"])
def test_each_replays_the_others_private_journal(
    native: Native, tmp_path: Path, writer: str
) -> None:
    hyper = replace(Hyperparameters.suited(True), queries=16)
    if writer == "python":
        store = Store(tmp_path, IDENTITY)
        private_fit(store, labelled(), theta(), hyper, 12, SEED, 1.5, SHAPES)
        store.close()
    else:
        native("private_fit", tmp_path, **asked(labelled(), hyper, steps=12, noise=1.5))
    store = Store(tmp_path, IDENTITY)
    run = store.run()
    assert run.privacy is not None
    assert (run.privacy.noise, run.privacy.verdict) == (1.5, VERDICT)
    assert run.privacy.accountant == {"python": "pld", "native": "rdp"}[writer]
    own = Hyperparameters.from_dict(run.hyper)
    states = replay(theta(), SEED, own, store.journal(run), [0, 5, 12], SHAPES)
    store.close()
    found = native("replay", tmp_path, at=[0, 5, 12], theta=theta().tolist(), shapes=SHAPES)
    assert found["theta"] == [state.tobytes().hex() for state in states]


GRID = [
    (0.1, 1e-6, 0.01, 100), (1.0, 1e-5, 0.01, 1000), (1.0, 1e-5, 0.2, 50), (4.0, 1e-5, 0.05, 100),
    (8.0, 1e-4, 0.3, 100), (8.0, 1e-3, 1.0, 10), (8.0, 1e-5, 0.002, 1), (50.0, 1e-4, 0.1, 60),
]  # fmt: skip


@pytest.mark.parametrize(("epsilon", "delta", "share", "steps"), GRID)
def test_pythons_accountant_confirms_the_noise(
    native: Native, epsilon: float, delta: float, share: float, steps: int
) -> None:
    """By privacy-loss distributions less is spent than was asked for, and no more than needs be."""
    pytest.importorskip("dp_accounting", reason="the package dp-accounting is not installed")
    ask = {"epsilon": epsilon, "delta": delta}
    noise = native("noise", share=share, steps=steps, **ask)["noise"]
    fit = Spent(noise, share, steps, 0.0, 0.0, delta)
    used = spent([fit], delta)
    least = noise_for(Privacy(epsilon, delta), share, steps, [])
    assert used <= epsilon
    assert noise <= least * (1.35 if epsilon <= 8 else 2.2)
    counted = native("spent", before=[asdict(fit)], **ask)["epsilon"]
    assert used <= counted <= epsilon
    if noise > 0.301:  # the least that is looked at
        assert counted > 0.98 * epsilon


@pytest.mark.parametrize(("epsilon", "delta", "share", "steps"), GRID)
def test_the_accountant_counts_as_the_librarys_of_its_kind(
    native: Native, epsilon: float, delta: float, share: float, steps: int
) -> None:
    """`dp-accounting` has one by Renyi divergences too; of two fits, at the same orders."""
    rdp = pytest.importorskip("dp_accounting.rdp", reason="dp-accounting is not installed")
    accounting = pytest.importorskip("dp_accounting")
    orders = [*range(2, 65)]
    while orders[-1] + orders[-1] // 10 <= 1024:
        orders.append(orders[-1] + orders[-1] // 10)
    accountant, fits = rdp.RdpAccountant(orders), []
    for noise in (1.1, 4.0 / epsilon + 0.4):
        event = accounting.PoissonSampledDpEvent(share, accounting.GaussianDpEvent(noise))
        accountant.compose(accounting.SelfComposedDpEvent(event, steps))
        fits.append(asdict(Spent(noise, share, steps, 0.0, 0.0, delta)))
    found = native("spent", before=fits, epsilon=epsilon, delta=delta)["epsilon"]
    assert found == pytest.approx(accountant.get_epsilon(delta), rel=1e-6)


def test_a_fit_behind_pythons_gets_what_that_left(native: Native) -> None:
    pytest.importorskip("dp_accounting", reason="the package dp-accounting is not installed")
    first = Spent(noise_for(Privacy(2.0), 0.05, 50, []), 0.05, 50, 1.0, 2.0, 1e-5)
    ask = {"delta": 1e-5, "share": 0.05, "steps": 50, "before": [asdict(first)]}
    noise = native("noise", epsilon=4.0, **ask)["noise"]
    assert spent([first, Spent(noise, 0.05, 50, 1.0, 4.0, 1e-5)], 1e-5) <= 4.0
    with pytest.raises(NativeError, match="already spent") as caught:
        native("noise", epsilon=1.5, **ask)
    assert caught.value.kind == "privacy"


def test_noise_and_batches_are_the_systems_not_the_seeds(native: Native, tmp_path: Path) -> None:
    for name in "ab":
        native("fit", tmp_path / name, privacy=PRIVACY, steps=6, **asked(distinct()))
    first, second = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert len(first) == len(second) == 6
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_a_private_fit_learns_and_tells_what_it_spent(native: Native, tmp_path: Path) -> None:
    private = {"privacy": [50.0, 1e-4, 32]}
    report = native("fit", tmp_path, steps=80, **private, **asked(distinct(400)))
    took = report["privacy"]
    assert took["epsilon"] <= took["verdict"] == 50
    assert (took["steps"], took["delta"], took["accountant"]) == (80, 1e-4, "rdp")
    assert took["share"] == 32 / (report["examples"] - report["held_out"])
    assert report["hyperparameters"] == asdict(
        replace(Hyperparameters.suited(True), queries=16, batch=32, slopes="batch")
    )
    assert all(step["loss"] is step["held_out_loss"] is None for step in report["curve"])
    assert report["routes"] == report["served_examples"] == report["notes"] == []
    store = Store(tmp_path, IDENTITY)
    (run,) = store.runs()
    store.close()
    assert run.privacy == Spent(**took)
    assert len(run.examples) == 400


def test_examples_are_held_out_by_their_ids(native: Native, tmp_path: Path) -> None:
    report = native("fit", tmp_path, privacy=PRIVACY, steps=1, **asked(distinct()))
    ids = native("ids", tmp_path, examples=distinct())["ids"]
    assert report["held_out"] == sum(int(key, 16) % 8 == 0 for key in ids)


def test_an_example_that_comes_twice_counts_once(native: Native, tmp_path: Path) -> None:
    report = native("fit", tmp_path, privacy=PRIVACY, steps=1, **asked(distinct() * 2))
    assert report["examples"] == 160


def test_an_interrupted_private_fit_counts_in_full_and_is_not_gone_on_with(
    native: Native, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        native("fit", tmp_path, kill_after=3, privacy=PRIVACY, steps=20, **asked(distinct()))
    with pytest.raises(NativeError, match="already spent 4.00"):
        native("fit", tmp_path, privacy=PRIVACY, steps=20, **asked(distinct()))
    report = native("fit", tmp_path, privacy=[9.0, 1e-4, 16], steps=20, **asked(distinct()))
    assert (report["resumed"], report["steps"]) == (0, 20)
    assert 4 < report["privacy"]["epsilon"] <= 9
    store = Store(tmp_path, IDENTITY)
    first, second = store.runs()
    assert [run.verdict for run in (first, second)] == [None, report["verdict"]]
    assert first.privacy is not None
    assert first.privacy.steps == 20
    assert first.privacy.epsilon == pytest.approx(4, rel=0.03)
    store.close()


def test_a_stop_takes_no_more_than_was_done(native: Native, tmp_path: Path) -> None:
    report = native("fit", tmp_path, stop_after=5, privacy=PRIVACY, steps=40, **asked(distinct()))
    assert (report["steps"], report["privacy"]["steps"]) == (5, 5)
    # the verdict's share is gone
    assert report["privacy"]["epsilon"] == pytest.approx(4, rel=1e-9)


def test_losses_that_are_no_numbers_do_not_show(native: Native, tmp_path: Path) -> None:
    """A NaN would pass through any noise, and tell that its example was there."""
    lost = [[str(i), "nan", [], False] for i in range(160)]
    report = native("fit", tmp_path, privacy=PRIVACY, steps=4, **asked(lost))
    numbers = np.frombuffer(b"".join(rows(tmp_path)), "<f4")
    assert np.isfinite(numbers).all()
    assert np.count_nonzero(numbers) == len(numbers)
    assert math.isfinite(report["before"]["loss"])


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"privacy": [0, 1e-4, 16]}, "usage", "epsilon is 0, expected a number more than 0"),
    ({"privacy": [-1, 1e-4, 16]}, "usage", "epsilon is -1"),
    ({"privacy": [4, 0, 16]}, "usage", "expected 0 < delta < 1"),
    ({"privacy": [4, 1.5, 16]}, "usage", "delta is 1.5"),
    ({"privacy": [4, 1e-4, 0]}, "usage", "the batch of privacy is 0"),
    ({"privacy": [4, 0.01, 16]}, "privacy", "delta is 0.01 for 160 examples.*take 6e-04 or less"),
    (
        {"examples": distinct(3)},
        "privacy",
        "3 examples are too few",
    ),  # chance could hold 4 of 8 out
    ({"privacy": [1e-4, 1e-9, 16], "steps": 10**7}, "privacy", "too little for 10000000 steps"),
    ({"changes": {"estimator": "mezo"}}, "privacy", "covers the scalars of estimator antithetic"),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), REFUSED)
def test_what_is_no_guarantee_is_refused_and_leaves_no_fit(
    native: Native, tmp_path: Path, wrong: dict[str, Any], kind: str, words: str
) -> None:
    given = {"privacy": PRIVACY, "steps": 5, **asked(distinct())} | wrong
    with pytest.raises(NativeError, match=words) as caught:
        native("fit", tmp_path, **given)
    assert caught.value.kind == kind
    assert native("history", tmp_path)["fits"] == []


def test_a_gate_is_never_made_of_private_prompts(native: Native, tmp_path: Path) -> None:
    """Nor is one that is there told how many of them it serves."""
    blocks = {"blocks": 3, "shapes": SHAPES * 3, "theta": theta(3 * SIZE).tolist()}
    given = asked(distinct(), steps=5, privacy=PRIVACY) | blocks
    with pytest.raises(NativeError, match="made of the private prompts themselves"):
        native("fit", tmp_path, ungated=True, **given)
    with pytest.raises(NativeError, match="does not cover what a gate learns"):
        native("fit", tmp_path, changes={"gate": "learned"}, **given)
    report = native("fit", tmp_path, **given | {"privacy": [50.0, 1e-4, 32], "steps": 80})
    assert report["routes"] == report["served_examples"] == []
    assert report["evenness"] is None
    assert native("adapter", tmp_path, **blocks).get("served", []) == []


def test_examples_learned_from_openly_before_are_refused(native: Native, tmp_path: Path) -> None:
    native("fit", tmp_path, steps=2, **asked(distinct(20)))
    with pytest.raises(NativeError, match="20 of these examples.*without privacy"):
        native("fit", tmp_path, privacy=PRIVACY, steps=2, **asked(distinct()))


def test_a_damaged_fit_may_have_spent_anything(native: Native, tmp_path: Path) -> None:
    native("fit", tmp_path, privacy=PRIVACY, steps=2, **asked(distinct()))
    store = Store(tmp_path, IDENTITY)
    store._db.rows("UPDATE runs SET record = substr(record, 1, 20) WHERE id = 1")
    store.close()
    with pytest.raises(NativeError, match="fit 1 of this store is damaged, so what it spent"):
        native("fit", tmp_path, privacy=[9.0, 1e-4, 16], steps=2, **asked(distinct()))


@pytest.mark.parametrize(
    ("took", "words"),
    [({"noise": 1e-200}, "already spent inf"), ({"noise": -1.0}, "damaged"),
     ({"share": 2.0}, "damaged"), ({"steps": -3}, "damaged"), ({"verdict": -9.0}, "damaged")],
)  # fmt: skip
def test_what_an_earlier_fit_cannot_have_spent_is_refused(
    native: Native, tmp_path: Path, took: dict[str, Any], words: str
) -> None:
    native("fit", tmp_path, privacy=PRIVACY, steps=2, **asked(distinct()))
    store = Store(tmp_path, IDENTITY)
    (run,) = store.runs()
    assert run.privacy is not None
    with store._db.transaction():
        store._keep_run(replace(run, privacy=replace(run.privacy, **took)))
    store.close()
    with pytest.raises(NativeError, match=words):
        native("fit", tmp_path, privacy=[9.0, 1e-4, 16], steps=2, **asked(distinct()))
