"""Two threads, two users: each says and learns what it would without the other."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from sharing import EXAMPLES, HYPER, PROMPTS, SINGLE, alone, assert_same

from dsa_edge.errors import DsaEdgeError
from dsa_edge.runtime import Budget, Personalizer, SharedBase


def test_two_threads_serve_two_users(bundle: Path, tmp_path: Path, stores: list[Path]) -> None:
    """One learns while the other answers, and both say what each says without the other."""

    def learn(me: Personalizer) -> None:
        me.fit(EXAMPLES, Budget(steps=6), None, HYPER)

    with alone(bundle, tmp_path / "alone") as me:
        learn(me)
        expected = me.fits()[-1], me.replay([6])[0].vector
    with alone(bundle, stores[1]) as me:
        answers = [me.choose(prompt, SINGLE) for prompt in PROMPTS]
        texts = [me.generate(prompt, 4) for prompt in PROMPTS]
    with SharedBase.open(bundle, open_stores=1) as base:
        learner, other = base.user(tmp_path / "learner"), base.user(stores[1])
        failed: list[BaseException] = []

        def run(work: object) -> None:
            try:
                work()  # type: ignore[operator]
            except BaseException as error:
                failed.append(error)

        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                for prompt, choice, text in zip(PROMPTS, answers, texts, strict=True):
                    assert_same(other.choose(prompt, SINGLE), choice)
                    assert base.generate([(other, prompt)], 4) == [text]

        def learning() -> None:
            learn(learner)
            done.set()

        threads = [threading.Thread(target=run, args=(w,)) for w in (learning, answer)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        assert not failed, failed
        np.testing.assert_array_equal(learner.replay([6])[0].vector, expected[1])


def test_two_fits_of_one_user_at_once_are_refused(bundle: Path, tmp_path: Path) -> None:
    with SharedBase.open(bundle) as base:
        user = base.user(tmp_path / "alice")
        refused: list[DsaEdgeError] = []

        def again(_: object) -> None:
            try:
                user.rollback(0)
            except DsaEdgeError as error:
                refused.append(error)

        def other(step: object) -> None:
            thread = threading.Thread(target=again, args=(step,))
            thread.start()
            thread.join()

        user.fit(EXAMPLES, Budget(steps=2), other, HYPER)
        assert refused
        assert "another program is changing the store" in str(refused[0])
