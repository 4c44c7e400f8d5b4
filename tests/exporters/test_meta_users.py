"""Users of a meta-training: how they are read, and who is kept apart from whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.examples import Example
from dsa_edge.exporters.training.meta import MetaSettings, Population, gathered, read_users

X = [Example("say", " x")]


def people(count: int, examples: int = 4) -> dict[str, list[Example]]:
    return {
        f"user{u}": [Example("say", f" {u} and {i}") for i in range(examples)] for u in range(count)
    }


def texts(users: tuple[object, ...]) -> set[str]:
    return {e.response for user in users for e in user.examples}  # type: ignore[attr-defined]


def test_a_folder_and_a_file_say_the_same(tmp_path: Path) -> None:
    rows = {"ann": ["a", "b"], "ben": ["c"]}
    folder = tmp_path / "people"
    folder.mkdir()
    for name, said in rows.items():
        lines = [json.dumps({"prompt": "say", "response": text}) for text in said]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"user": n, "prompt": "say", "response": t}) for n in rows for t in rows[n]]
    (tmp_path / "people.jsonl").write_text("\n".join(lines))
    expected = {name: [Example("say", text) for text in said] for name, said in rows.items()}
    assert read_users(folder) == read_users(tmp_path / "people.jsonl") == expected


def test_lines_without_a_user_and_empty_folders_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text('{"prompt": "say", "response": "a"}')
    with pytest.raises(ExampleError, match="line 1: `user` is missing"):
        read_users(file)
    with pytest.raises(ExampleError, match=r"holds no \.jsonl file"):
        read_users(tmp_path.joinpath("none").mkdir() or tmp_path / "none")


def test_new_users_move_nobody() -> None:
    few, many = (gathered(people(n), 0.3, 2) for n in (20, 40))
    assert 0 < len(few.unseen) < 20
    for side in ("seen", "unseen"):
        known = {user.key for user in getattr(few, side)}
        assert known <= {user.key for user in getattr(many, side)}
    assert gathered(people(20), 0.3, 2, key="another").unseen != few.unseen


def test_named_users_are_the_unseen_ones() -> None:
    found = gathered(people(5), ("user1", "user3"), 2)
    assert texts(found.unseen) == {f" {u} and {i}" for u in (1, 3) for i in range(4)}
    assert not texts(found.unseen) & texts(found.seen)
    with pytest.raises(UsageError, match="no user nobody with enough examples"):
        gathered(people(5), ("nobody",), 2)


def test_no_text_is_on_both_sides() -> None:
    users = people(4)
    users["user0"].append(Example("Say ", " 1  AND 2"))  # the same words as one of user1's
    found = gathered(users, ("user0",), 2)
    assert found.repeated == 1
    assert texts(found.unseen) == {f" 0 and {i}" for i in range(4)}


def test_unseen_users_without_a_text_of_their_own_are_refused() -> None:
    users = {**people(4), "copy": people(4)["user1"], "near": [*people(4)["user2"][1:], *X]}
    with pytest.raises(ExampleError, match=r"none of 2 unseen users has the 2 .* 7 texts that"):
        gathered(users, ("copy", "near"), 2)
    assert gathered(users, ("copy", "user0"), 2).repeated == 4  # one of them judges


@pytest.mark.parametrize("count", [1, 2])
def test_a_population_that_cannot_be_split_is_refused(count: int) -> None:
    with pytest.raises(ExampleError, match="expected at least 2 and 1"):
        gathered(people(count), ("user0",), 2)


def test_users_with_too_few_examples_are_named_or_skipped() -> None:
    users = {**people(5), "shy": X}
    with pytest.raises(ExampleError, match=r"1 of 6 users have fewer than the 2 .*\(shy\)"):
        gathered(users, ("user0",), 2)
    found = gathered(users, ("user0",), 2, skip_small=True)
    assert isinstance(found, Population)
    assert (found.skipped, len(found.seen)) == (1, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "maml"}, {"rounds": 0}, {"inner_rate": 0.0}, {"rate": float("nan")},
        {"directions": -1}, {"seed": -1}, {"examples": 8},
    ],
)  # fmt: skip
def test_settings_that_cannot_learn_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        MetaSettings(**wrong)  # type: ignore[arg-type]


def test_a_share_of_nobody_or_all_is_refused() -> None:
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError, match="unseen is"):
            gathered(people(5), share, 2)
