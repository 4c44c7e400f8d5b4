"""Populations of the benchmarks: what an unseen user writes is in no seen user's examples."""

from __future__ import annotations

from typing import Any

import _people
import pytest
from _people import UNSEEN_ACCOUNTS, people


class Words:
    """A tokenizer of words."""

    def encode(self, text: str) -> list[str]:
        return text.split()


ACCOUNTS = {name for fold in UNSEEN_ACCOUNTS for name in fold} | {f"seen{n}" for n in range(8)}

WORDS: Any = Words()


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts whose posts say whose they are."""
    written = {name: [f"{name} wrote {n}" for n in range(200)] for name in sorted(ACCOUNTS)}
    monkeypatch.setattr(_people, "posts_of_accounts", lambda folder: written)


@pytest.mark.parametrize("fold", range(len(UNSEEN_ACCOUNTS)))
@pytest.mark.usefixtures("posts")
def test_no_seen_pair_has_an_account_of_an_unseen_one(fold: int) -> None:
    users, unseen = people("pairs", fold, WORDS)
    assert len(unseen) == 3
    for name, examples in users.items():
        strange = [e for e in examples if any(a in e.prompt for a in UNSEEN_ACCOUNTS[fold])]
        assert len(strange) == (len(examples) if name in unseen else 0)
        answers = [example.response for example in examples]
        assert {answers.count(word) for word in set(answers)} == {len(answers) // 2}


def test_no_sentence_is_two_reviewers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"sentence {n}", n % 2) for n in range(9000)]
    monkeypatch.setattr(_people, "review_sentences", lambda *counts: (rows, []))
    users, unseen = people("reviewers", 0, WORDS)
    prompts = [example.prompt for examples in users.values() for example in examples]
    assert len(set(prompts)) == len(prompts)
    assert len(unseen) == 6
    assert set(unseen) < set(users)
