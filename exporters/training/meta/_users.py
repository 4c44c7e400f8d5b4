"""Users: reading them, and telling apart who is learned from and who only judges.

Who is unseen is decided by a hash of the user's name alone, under a key, so that adding users never
moves anyone. A `Population` gives the training its seen users and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.examples import Chat, Example, Labels, read_examples, read_user_examples

__all__ = ["Population", "User", "gathered", "name_hash", "read_users"]


@dataclass(frozen=True)
class User:
    """One user: a hash that stands for the name in every record, and the examples."""

    key: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Population:
    """Whom to learn from, and whom to judge on.

    skipped: users with too few examples. repeated: texts of unseen users that seen ones have too,
    which were taken from the unseen.
    """

    seen: tuple[User, ...]
    unseen: tuple[User, ...]
    skipped: int = 0
    repeated: int = 0


def read_users(
    path: str | Path, labels: Labels | None = None, chat: Chat | None = None
) -> dict[str, list[Example]]:
    """Examples of users by name: of a folder, whose files are users, or of one file.

    The lines of one file have a `user` each; in a folder NAME.jsonl is the user NAME.
    Raises ExampleError for anything else.
    """
    place = Path(path)
    if not place.is_dir():
        return read_user_examples(place, labels, chat)
    files = sorted(place.glob("*.jsonl"))
    if not files:
        raise ExampleError(
            f"{place} holds no .jsonl file: give a folder with one file a user, or one file whose "
            "lines have a `user`."
        )
    return {file.stem: read_examples(file, labels, chat) for file in files}


def gathered(
    users: Mapping[str, Sequence[Example]],
    unseen: float | Sequence[str],
    least: int,
    skip_small: bool = False,
    key: str = "",
) -> Population:
    """Split users into seen and unseen ones.

    unseen: the share of users that only judge, or their names. least: examples that a user needs;
    skip_small: leave users out who have fewer, instead of refusing. key: of the hash.
    Raises ExampleError for users with too few examples, for a population that cannot be split and
    for one whose unseen users have too few texts of their own; UsageError for an unseen user who
    is not there.
    """
    small = [name for name, examples in users.items() if len(examples) < least]
    if small and not skip_small:
        some = ", ".join(small[:5]) + (" …" if len(small) > 5 else "")
        raise ExampleError(
            f"{len(small)} of {len(users)} users have fewer than the {least} examples that support "
            f"and query need ({some}): add examples, lower --batch or --query, or pass "
            "--skip-small."
        )
    large = {name: users[name] for name in users if name not in small}
    apart = _unseen(large, unseen, key)
    names = [name for name in large if name not in apart]
    if len(names) < 2 or not apart:
        raise ExampleError(
            f"{len(large)} users split into {len(names)} seen and {len(apart)} unseen ones, "
            "expected at least 2 and 1: add users, or choose with --unseen SHARE or NAME,…"
        )
    found = _without_repeats(large, names, sorted(apart), len(small), key)
    if all(len(user.examples) < least for user in found.unseen):
        raise ExampleError(
            f"none of {len(apart)} unseen users has the {least} examples that judge a start once "
            f"{found.repeated} texts that seen users have too are left out: give unseen users "
            "texts of their own, or choose others with --unseen."
        )
    return found


def name_hash(name: str, key: str = "") -> str:
    """What stands for a user's name: 16 hex digits, BLAKE2b under a key."""
    raw = name.encode(errors="surrogatepass")
    return hashlib.blake2b(raw, digest_size=8, key=key.encode()[:64]).hexdigest()


def _unseen(users: Mapping[str, object], unseen: float | Sequence[str], key: str) -> set[str]:
    if isinstance(unseen, float):
        if not 0 < unseen < 1:
            raise UsageError(f"unseen is {unseen}, expected a share above 0 and below 1, or names.")
        return {name for name in users if int(name_hash(name, key), 16) < unseen * 2.0**64}
    missing = [name for name in unseen if name not in users]
    if missing:
        raise UsageError(
            f"no user {', '.join(missing)} with enough examples: correct --unseen (there are "
            f"{', '.join(sorted(users)[:8])} …)."
        )
    return set(unseen)


def _without_repeats(
    users: Mapping[str, Sequence[Example]], seen: list[str], unseen: list[str], skipped: int,
    key: str,
) -> Population:  # fmt: skip
    """Unseen users keep no text that a seen one has: it would judge by what was learned."""
    known = {_text(example) for name in seen for example in users[name]}
    kept = {n: [e for e in users[n] if _text(e) not in known] for n in unseen}
    repeated = sum(len(users[name]) - len(kept[name]) for name in unseen)

    def made(names: list[str], of: Mapping[str, Sequence[Example]]) -> tuple[User, ...]:
        # In the order of the hashes: nothing depends on how files are named or sorted.
        found = [User(name_hash(name, key), tuple(of[name])) for name in names]
        return tuple(sorted(found, key=lambda user: user.key))

    return Population(made(seen, users), made(unseen, kept), skipped, repeated)


def _text(example: Example) -> str:
    """What is compared to find repeats: the words, whatever their case and spaces."""
    return " ".join(f"{example.prompt}\n{example.response}".casefold().split())
