"""Populations for `population.py`: who the users are, and which of them no start is learned from.

    posts       accounts that post health news; a post is a free response to one prompt
    reviewers   people who review films, each with a share of praise of their own; two labels
    pairs       people who tell two accounts' posts apart, each pair another; two labels that mean
                something else to everyone. Unseen pairs are of accounts that no seen pair has

A fold has other unseen users, and where users are drawn, others altogether.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from _tasks import AUTHORS, FOLDER, post_example, posts_of_accounts

from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.examples import Example
from dsa_edge.tokenizer import Tokenizer

__all__ = ["POPULATIONS", "Person", "Users", "people", "reviewers"]

Users = dict[str, list[Example]]
UNSEEN_ACCOUNTS = (
    ("nytimeshealth", "latimeshealth", "KaiserHealthNews"),
    ("cnnhealth", "bbchealth", "NBChealth"),
    ("reuters_health", "usnewshealth", "gdnhealthcare"),
)
REVIEWERS, UNSEEN_REVIEWERS = 24, 6
REVIEWS = (192, 100)  # that one learns from, and that judge
PAIRS = 24  # of seen accounts
SKEW = (0.15, 0.85)  # shares of a person's reviews that are positive
EACH = 180  # posts of an account in a pair, the last ones


@dataclass(frozen=True)
class Person:
    """What one user wrote: examples to learn from, and later ones to be measured on."""

    learn: tuple[Example, ...]
    test: tuple[Example, ...]


def people(name: str, fold: int, tokenizer: Tokenizer) -> tuple[Users, tuple[str, ...]]:
    """All users with their examples, the oldest first, and the names of the unseen.

    Raises ExampleError with the command to install what is missing.
    """
    return POPULATIONS[name](fold, tokenizer)


def reviewers(count: int, learn: int, test: int, seed: int) -> list[Person]:
    """People who review films, each with a share of praise of their own; no sentence comes twice.

    Raises ExampleError with the command to install the package of the sentences.
    """
    each = learn + test
    rows, _ = review_sentences(round(1.1 * count * each) + 200, 1, seed)
    draw = random.Random(seed)
    kinds = [[row for row in rows if row[1] == label] for label in (0, 1)]
    return [_reviewer(kinds, draw, learn, each) for _ in range(count)]


def _reviewer(kinds: list[list[Any]], draw: random.Random, learn: int, each: int) -> Person:
    share = draw.uniform(*SKEW)
    labels = [0, 1, *(int(draw.random() < share) for _ in range(each - 2))]
    picked = [(kinds[label] or kinds[1 - label]).pop() for label in labels]
    made = tuple(LABELS.example(*row) for row in picked)
    return Person(made[:learn], made[learn:])


def _posts(fold: int, tokenizer: Tokenizer) -> tuple[Users, tuple[str, ...]]:
    posts = posts_of_accounts(FOLDER)
    users = {name: [post_example(text, tokenizer) for text in posts[name]] for name in posts}
    return users, UNSEEN_ACCOUNTS[fold % len(UNSEEN_ACCOUNTS)]


def _reviewers(fold: int, _tokenizer: Tokenizer) -> tuple[Users, tuple[str, ...]]:
    found = reviewers(REVIEWERS, *REVIEWS, seed=fold)
    users = {f"reviewer{n}": [*person.learn, *person.test] for n, person in enumerate(found)}
    return users, tuple(users)[-UNSEEN_REVIEWERS:]


def _pairs(fold: int, tokenizer: Tokenizer) -> tuple[Users, tuple[str, ...]]:
    posts = posts_of_accounts(FOLDER)
    apart = UNSEEN_ACCOUNTS[fold % len(UNSEEN_ACCOUNTS)]
    draw = random.Random(fold)
    seen = list(itertools.combinations(sorted(set(posts) - set(apart)), 2))
    seen = [pair for pair in seen if all(len(posts[name]) >= EACH for name in pair)]
    unseen = list(itertools.combinations(apart, 2))
    users = {
        "-".join(pair): _pair([posts[name] for name in pair], draw, tokenizer)
        for pair in (*draw.sample(seen, PAIRS), *unseen)
    }
    return users, tuple("-".join(pair) for pair in unseen)


def _pair(
    accounts: Sequence[Sequence[str]], draw: random.Random, tokenizer: Tokenizer
) -> list[Example]:
    """Posts of two accounts in any order; which of them is number one is drawn."""
    labels = draw.sample(AUTHORS.names, 2)
    made = [
        AUTHORS.example(post_example(text, tokenizer).response.strip(), label)
        for posts, label in zip(accounts, labels, strict=True)
        for text in posts[-EACH:]
    ]
    return draw.sample(made, len(made))


POPULATIONS: dict[str, Callable[[int, Tokenizer], tuple[Users, tuple[str, ...]]]] = {
    "pairs": _pairs, "posts": _posts, "reviewers": _reviewers
}  # fmt: skip
