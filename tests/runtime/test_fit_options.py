"""What a fit is asked for besides examples: conditions, replay, and values that cannot work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.errors import UsageError
from dsa_edge.runtime import Budget, Conditions, DeviceState, Example, Hyperparameters, Personalizer
from dsa_edge.runtime._store import Store

CHOICES = (" a", " b")
WORDS = [
    *("red", "green", "blue", "warm", "cold", "quick", "slow", "old"),
    *("new", "wide", "thin", "deep", "flat", "loud", "calm", "bright"),
]


class Plugged:
    """A device that is on power from its n-th look on."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    def read(self) -> DeviceState:
        self._left -= 1
        return DeviceState(self._left < 0, 80.0, None, None)


def examples(count: int, tail: str = "door") -> list[Example]:
    return [Example(f"{i} {tail} {WORDS[i % 16]}", CHOICES[i % 2], CHOICES) for i in range(count)]


def user(bundle: Path, folder: Path | None = None) -> Personalizer:
    engine = StubEngine(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def test_a_fit_waits_for_its_conditions_and_goes_on(bundle: Path) -> None:
    with user(bundle) as me:
        told: list[tuple[str, ...]] = []
        me.device = Plugged(4)
        report = me.fit(
            examples(40), Budget(steps=6, seconds=60),
            conditions=Conditions(charging=True, check_seconds=0.05), on_pause=told.append,
        )  # fmt: skip
        assert told == [("it is not on external power",), ()]
        assert report.steps == 6


def test_pauses_are_no_time_of_the_budget(bundle: Path) -> None:
    with user(bundle) as me:
        me.device = Plugged(12)
        report = me.fit(
            examples(40), Budget(steps=4, seconds=30),
            conditions=Conditions(charging=True, check_seconds=0.1),
        )  # fmt: skip
        assert report.steps == 4
        assert report.fit_seconds < 1  # eleven looks, 1.1 s of pause, and some ms of work


def test_what_a_device_never_tells_is_refused_at_once(bundle: Path) -> None:
    with user(bundle) as me:
        me.device = Plugged(0)
        with pytest.raises(UsageError, match=r"temperature is not known.*Leave them out"):
            me.fit(examples(8), conditions=Conditions(celsius=40))
        assert me.fits() == []


def test_remembered_examples_are_mixed_in_up_to_the_bound(bundle: Path) -> None:
    with user(bundle) as me:
        old, new = examples(30), examples(20, "window")
        me.fit(old, Budget(steps=2), remember=True)
        me.fit(new, Budget(steps=2), replay=5, remember=True)
        used = me.fits()[-1].examples
        kept = {me.example_id(e) for e in old}
        assert set(map(me.example_id, new)) <= set(used)
        assert len(set(used) & kept) == 5
        assert len(me.remembered()) == 50
        me.fit(new, Budget(steps=2))
        assert not kept & set(me.fits()[-1].examples)
        me.fit(new, Budget(steps=2), replay=500)
        assert kept <= set(me.fits()[-1].examples)
        with pytest.raises(UsageError, match="replay is -1"):
            me.fit(new, replay=-1)


@pytest.mark.parametrize("epsilon", [5e3, 1e-9])
def test_a_radius_that_losses_cannot_tell_is_changed(bundle: Path, epsilon: float) -> None:
    with Personalizer.open(bundle) as me:
        hyper = Hyperparameters(epsilon=epsilon)
        report = me.fit(examples(24), Budget(steps=2), hyperparameters=hyper)
        used = report.hyperparameters["epsilon"]
        assert 1e-8 < used < 1e3
        assert used != epsilon
        assert f"{used:g} was used" in report.notes[0]
        assert me.fits()[-1].hyper["epsilon"] == used  # what the journal replays with


def test_a_rate_that_breaks_the_loss_at_once_is_halved(bundle: Path) -> None:
    with user(bundle) as me:
        report = me.fit(examples(24), Budget(steps=2), hyperparameters=Hyperparameters(rate=5.0))
        assert report.hyperparameters["rate"] < 5
        assert any("the rate 5 made the loss worse" in note for note in report.notes)


def test_values_that_work_are_left_alone(bundle: Path) -> None:
    with user(bundle) as me:
        report = me.fit(examples(40), Budget(steps=2))
        assert report.hyperparameters == vars(Hyperparameters())
        assert report.notes == ()


def test_contradictory_examples_end_in_a_verdict(bundle: Path) -> None:
    """Every text has both labels: nothing can be learned, and nothing may get worse."""
    both = [Example(e.prompt, label, CHOICES) for e in examples(64) for label in CHOICES]
    with user(bundle) as me:
        report = me.fit(both, Budget(steps=40))
        assert report.verdict == "no improvement"
        assert me.version == 0


def test_one_example_many_times_is_learned_and_no_more(bundle: Path) -> None:
    with user(bundle) as me:
        report = me.fit([*examples(2)] * 40, Budget(steps=20))
        assert report.verdict == "improved"
        assert np.isfinite(me.adapter.vector).all()
        assert len(set(me.fits()[-1].examples)) == 2
