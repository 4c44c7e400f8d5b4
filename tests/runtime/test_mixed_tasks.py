"""A user with several tasks: examples with choices of their own, learned by one adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer

SETS = ((" good", " bad"), (" one", " two", " three"))
HYPER = Hyperparameters(queries=2, batch=6, epsilon=0.05, rate=0.01)


def mixed(count: int) -> list[Example]:
    """Of both sets in turns; the first answer of a set is right three times in four."""
    made = []
    for number in range(count):
        choices = SETS[number % 2]
        answer = choices[0] if number // 2 % 4 else choices[-1]
        made.append(Example(f"text {number} is", answer, choices=choices))
    return made


def test_every_set_of_choices_gets_biases_of_its_own(bundle: Path) -> None:
    examples = mixed(32)
    with Personalizer.open(bundle) as me:
        (before,) = me.evaluate(examples)
        report = me.fit(examples, Budget(steps=6), hyperparameters=HYPER, seed=1)
        assert report.verdict == "improved"
        (after,) = me.evaluate(examples)
        labels = me.adapter.labels
        parts = [me.evaluate([e for e in examples if e.choices == own])[0] for own in SETS]
        chosen = [me.choose("text is", own).text for own in SETS]
    assert set(labels) == {word for own in SETS for word in own}
    for own in SETS:
        # float32 rounds what the fit centred
        assert sum(labels[word] for word in own) == pytest.approx(0, abs=1e-4)
    # what is judged together is what each task is judged as, and what `choose` says
    assert after.loss == pytest.approx(sum(part.loss for part in parts) / 2, rel=1e-5)
    assert after.loss < before.loss - 0.1
    assert chosen == [own[0] for own in SETS]  # what is mostly right


def test_a_second_fit_on_one_task_keeps_the_other_tasks_biases(bundle: Path) -> None:
    examples = mixed(32)
    with Personalizer.open(bundle) as me:
        me.fit(examples, Budget(steps=6), hyperparameters=HYPER, seed=1)
        first = me.adapter.labels
        (before,) = me.evaluate(examples[::2])
        own = [Example(e.prompt, SETS[1][1], SETS[1]) for e in examples[1::2]]
        other = [Example("odd", SETS[1][0], SETS[1])]
        report = me.fit(own + other, Budget(steps=4), hyperparameters=HYPER, seed=2)
        assert report.verdict == "improved"
        second = me.adapter.labels
        assert [second[word] for word in SETS[0]] == [first[word] for word in SETS[0]]
        assert second[SETS[1][1]] > first[SETS[1][1]]
        assert before.loss > 0


def test_a_quiz_whose_choices_are_new_every_time_has_no_biases(bundle: Path) -> None:
    quiz = [
        Example(f"question {n}", f" a{n}", choices=(f" a{n}", f" b{n}", f" c{n}"))
        for n in range(16)
    ]
    with Personalizer.open(bundle) as me:
        report = me.fit(quiz, Budget(steps=3), hyperparameters=HYPER, seed=1)
        assert report.steps == 3
        assert me.adapter.labels == {}
