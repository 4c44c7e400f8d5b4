"""Learning in C++ and in Python: one store, the same journals, the same bits."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_engine import Content, fit
from native_learn import IDENTITY, Native

from dsa_edge.runtime._hyperparameters import ESTIMATORS, OPTIMIZERS, Hyperparameters
from dsa_edge.runtime._optimizer import replay
from dsa_edge.runtime._store import Store

SHAPES = ((6, 4), (5,), (4, 3))
SIZE = 41
PAIRS = [
    (estimator, optimizer)
    for estimator in ESTIMATORS
    for optimizer in OPTIMIZERS
    if estimator != "exact" and (estimator, optimizer) != ("one-sided", "normalized")
]


def responses(count: int = 60) -> list[Content]:
    """Free responses: numbers to hit."""
    random = np.random.default_rng(1)
    return [[str(i % 12), f"{random.normal():.3f}", [], False] for i in range(count)]


def labelled(count: int = 60, choices: int = 2) -> list[Content]:
    """Choices that follow from the prompt."""
    names = [f" {chr(97 + k)}é\n" for k in range(choices)]
    return [[str(i % 12), names[i % 12 % choices], names, False] for i in range(count)]


def theta(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(2).normal(0, 0.1, size).astype(np.float32)


def asked(hyper: Hyperparameters, examples: list[Content], **more: Any) -> dict[str, Any]:
    return {
        "theta": theta().tolist(), "shapes": SHAPES, "hyper": asdict(hyper), "examples": examples,
        "seed": 2**62 + 5, **more,
    }  # fmt: skip


def rows(folder: Path) -> list[bytes]:
    """The journal of a store's last fit."""
    store = Store(folder, IDENTITY)
    steps = store.journal(store.run())
    store.close()
    return [np.array([s.rate, *s.slopes], "<f4").tobytes() for s in steps]


def of_python(
    folder: Path, hyper: Hyperparameters, examples: list[Content], steps: int, blocks: int = 1
) -> Any:
    store = Store(folder, IDENTITY)
    try:
        shapes = SHAPES * blocks if blocks > 1 else SHAPES
        return fit(store, examples, theta(SIZE * blocks), hyper, steps, 2**62 + 5, shapes, blocks)[
            0
        ]
    finally:
        store.close()


def test_the_golden_vectors_are_the_same(native: Native) -> None:
    golden = Path(__file__).parents[1] / "golden"
    done = subprocess.run(
        [native.folder / "tests" / "learn_golden", golden], capture_output=True, text=True
    )
    assert done.stdout == "0 failed\n"


@pytest.mark.parametrize(("estimator", "optimizer"), PAIRS)
def test_a_fit_makes_the_same_journal(
    native: Native, tmp_path: Path, estimator: str, optimizer: str
) -> None:
    hyper = replace(
        Hyperparameters.suited(False, estimator, optimizer), queries=5, rank=2, refresh=3
    )
    outcome = of_python(tmp_path / "python", hyper, responses(), 15)
    report = native("fit", tmp_path / "native", steps=15, **asked(hyper, responses()))
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert (report["verdict"], report["steps"]) == (outcome.verdict, outcome.steps)
    assert report["tokens"] == outcome.tokens
    assert report["after"]["loss"] == pytest.approx(outcome.after.loss, rel=1e-6)  # float32 losses


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if e != "exact"])
@pytest.mark.parametrize("choices", [2, 9])
def test_a_fit_on_choices_makes_the_same_journal(
    native: Native, tmp_path: Path, estimator: str, choices: int
) -> None:
    hyper = replace(Hyperparameters.suited(True, estimator), queries=6)
    outcome = of_python(tmp_path / "python", hyper, labelled(choices=choices), 20)
    report = native("fit", tmp_path / "native", steps=20, **asked(hyper, labelled(choices=choices)))
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert report["verdict"] == outcome.verdict
    assert report["after"]["accuracy"] == pytest.approx(outcome.after.accuracy)


@pytest.mark.parametrize(
    ("draw", "kept"),
    [
        (11, 0),  # label biases alone: worse on the two held out, better by those left out in turn
        (15, None),  # the other way round: nothing
        (8, 10),  # steps on top of biases that only the others speak for
        (17, 10),  # steps and biases
    ],
)
def test_a_few_examples_keep_the_same(
    native: Native, tmp_path: Path, draw: int, kept: int | None
) -> None:
    random, names = np.random.default_rng(draw), [" a", " b"]
    examples: list[Content] = [
        [str(random.integers(12)), names[int(random.random() < 0.8)], names, False]
        for _ in range(16)
    ]
    hyper = replace(Hyperparameters.suited(True), queries=4, batch=8)
    outcome = of_python(tmp_path / "python", hyper, examples, 10)
    report = native("fit", tmp_path / "native", steps=10, **asked(hyper, examples))
    wanted = "no improvement" if kept is None else "improved"
    assert report["verdict"] == outcome.verdict == wanted
    store = Store(tmp_path / "native", IDENTITY)
    found = [version.steps for version in store.versions() if version.id]
    store.close()
    assert found == ([] if kept is None else [kept])
    assert outcome.kept == (kept or 0)
    assert report["after"]["loss"] == pytest.approx(outcome.after.loss, rel=1e-6)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("estimator", ["antithetic", "one-sided"])
def test_tasks_with_choices_of_their_own_make_the_same_journal(
    native: Native, tmp_path: Path, estimator: str, blocks: int
) -> None:
    """Two tasks, one of whose labels both have; blocks serve examples of both."""
    hyper = replace(Hyperparameters.suited(True, estimator), queries=6, batch=10)
    pairs = zip(labelled(choices=3), labelled(choices=2), strict=True)
    examples = [content for pair in pairs for content in pair]
    for content in examples[::2]:
        content[1:3] = content[1].replace("b", "q"), [c.replace("b", "q") for c in content[2]]
    outcome = of_python(tmp_path / "python", hyper, examples, 60, blocks)
    more = asked(hyper, examples, blocks=blocks) | {
        "shapes": SHAPES * blocks,
        "theta": theta(blocks * SIZE).tolist(),
    }
    report = native("fit", tmp_path / "native", steps=60, **more)
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert report["verdict"] == outcome.verdict == ("improved" if blocks == 1 else "no improvement")
    assert report["after"]["accuracy"] == pytest.approx(outcome.after.accuracy)
    if blocks == 1:
        labels = native("adapter", tmp_path / "native")["labels"]
        words = [" aé\n", " qé\n", " cé\n", " bé\n"]  # as the examples have them
        assert [labels[word] for word in words] == pytest.approx(outcome.bias.tolist(), abs=1e-6)


def test_blocks_have_slopes_of_their_own(native: Native, tmp_path: Path) -> None:
    hyper = replace(Hyperparameters.suited(False, "mezo"), queries=4)
    outcome = of_python(tmp_path / "python", hyper, responses(), 15, blocks=3)
    more = asked(hyper, responses(), blocks=3) | {
        "shapes": SHAPES * 3,
        "theta": theta(3 * SIZE).tolist(),
    }
    report = native("fit", tmp_path / "native", steps=15, **more)
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert report["verdict"] == outcome.verdict == "improved"
    assert report["routes"] == [20, 20, 20]
    assert native("adapter", tmp_path / "native")["served"] == [20, 20, 20]


def test_a_shrinking_budget_takes_the_same_numbers_away(native: Native, tmp_path: Path) -> None:
    hyper = replace(
        Hyperparameters.suited(False), keep=0.3, keep_from=4, keep_until=12, keep_every=3
    )
    outcome = of_python(tmp_path / "python", hyper, responses(), 18)
    native("fit", tmp_path / "native", steps=18, **asked(hyper, responses()))
    assert outcome.verdict == "improved"
    found = native("adapter", tmp_path / "native")["theta"]
    assert found == outcome.adapter.tobytes().hex()
    assert np.count_nonzero(outcome.adapter) == 12


def test_radius_and_rate_that_cannot_work_are_changed_alike(native: Native, tmp_path: Path) -> None:
    hyper = replace(Hyperparameters.suited(False), epsilon=40.0, rate=8.0)
    of_python(tmp_path / "python", hyper, responses(), 5)
    report = native("fit", tmp_path / "native", steps=5, **asked(hyper, responses()))
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert report["notes"][0].startswith("epsilon 40 moved losses too far: 0.4 was used")
    assert report["hyperparameters"]["rate"] < 8


@pytest.mark.parametrize(("estimator", "optimizer"), PAIRS)
def test_each_replays_the_others_journal_to_the_bit(
    native: Native, tmp_path: Path, estimator: str, optimizer: str
) -> None:
    hyper = replace(
        Hyperparameters.suited(False, estimator, optimizer), queries=5, rank=2, refresh=3
    )
    of_python(tmp_path / "python", hyper, responses(), 12)
    native("fit", tmp_path / "native", steps=12, **asked(hyper, responses()))
    at = [0, 1, 7, 12]
    for writer in ("python", "native"):
        store = Store(tmp_path / writer, IDENTITY)
        run = store.run()
        assert run.seed == 2**62 + 5
        states = replay(
            theta(), run.seed, Hyperparameters.from_dict(run.hyper), store.journal(run), at, SHAPES
        )
        store.close()
        more = {"theta": theta().tolist(), "shapes": SHAPES}
        found = native("replay", tmp_path / writer, at=at, **more)
        assert found["theta"] == [state.tobytes().hex() for state in states]


def test_one_store_is_read_and_written_by_both(native: Native, tmp_path: Path) -> None:
    """A fit by one after the other: the versions, their labels and the ids of examples."""
    hyper = Hyperparameters.suited(True)
    of_python(tmp_path, hyper, labelled(), 20)
    second = native(
        "fit", tmp_path, steps=20, remember=True, **asked(hyper, labelled()) | {"seed": 7}
    )
    store = Store(tmp_path, IDENTITY)
    assert [v.verdict for v in store.versions()] == ["improved"] * second["version"]
    assert [run.version for run in store.runs()] == [
        1,
        second["version"] if second["verdict"] == "improved" else None,
    ]
    assert store.runs()[0].examples == store.runs()[1].examples
    assert set(store.remembered()) == set(store.runs()[0].examples)
    used = store.newest_whole()
    assert used.adapter is not None
    found = native("adapter", tmp_path)
    assert found["theta"] == used.adapter.vector.tobytes().hex()
    assert found["labels"] == used.adapter.labels
    store.close()
    outcome = of_python(tmp_path, hyper, labelled(), 10)
    assert native("history", tmp_path)["fits"][-1] == [3, outcome.verdict, 60]


def test_remembered_examples_are_learned_again(native: Native, tmp_path: Path) -> None:
    hyper = Hyperparameters.suited(False)
    native("fit", tmp_path, steps=4, remember=True, **asked(hyper, responses()[:10]))
    report = native("fit", tmp_path, steps=4, replay=6, **asked(hyper, responses()[10:30]))
    assert report["examples"] == 26
    store = Store(tmp_path, IDENTITY)
    first, second = store.runs()
    assert len(set(second.examples) & set(first.examples)) >= 6
    assert [*store.remembered().items()] == [
        *map(tuple, native("remembered", tmp_path)["remembered"])
    ]
    store.close()


def test_forgetting_examples_takes_what_was_learned_from_them(
    native: Native, tmp_path: Path
) -> None:
    hyper = Hyperparameters.suited(False)
    versions = []
    for part in (responses()[:20], responses()[20:40], responses()[40:]):
        native(
            "fit", tmp_path, steps=20, remember=True, **asked(hyper, part) | {"seed": len(versions)}
        )
        versions.append(native("history", tmp_path)["version"])
    assert versions == [1, 2, 3]
    (gone,) = native("ids", tmp_path, examples=responses()[20:21])["ids"]
    assert native("forget_examples", tmp_path, ids=[gone])["gone"] == [2, 3]
    store = Store(tmp_path, IDENTITY)
    assert store.active == 1
    assert [run.id for run in store.runs()] == [1]
    assert gone not in store.example_ids()
    store.close()
    assert native("forget", tmp_path)["gone"] == [1]
    after = native("history", tmp_path)
    assert (after["version"], after["versions"], after["fits"]) == (0, [], [])


def test_rollback_and_loaded_adapters(native: Native, tmp_path: Path) -> None:
    start = {"theta": theta().tolist()}
    assert native("use", tmp_path, numbers=(2 * theta()).tolist(), **start) == {"version": 1}
    assert native("use", tmp_path, numbers=(3 * theta()).tolist(), **start) == {"version": 2}
    native("rollback", tmp_path, version=1)
    assert native("adapter", tmp_path)["theta"] == (2 * theta()).tobytes().hex()
    store = Store(tmp_path, IDENTITY)
    assert (store.active, [v.parent for v in store.versions()]) == (1, [0, 1])
    store.close()
