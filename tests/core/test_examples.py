"""Example files: every form, and every way to get one wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.examples import Example, Labels, read_examples

LABELS = Labels("{text} It was", ("terrible", "great"))


def chat(messages: Sequence[dict[str, str]], generate: bool) -> str:
    return "|".join(m["content"] for m in messages) + (">" if generate else "")


def write(folder: Path, *lines: object) -> Path:
    path = folder / "data.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_all_three_forms(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"prompt": "a", "response": "b"},
        "",
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]},
        {"text": " dull ", "label": "terrible"},
        {"text": "fine", "label": 1},
    )
    assert read_examples(path, LABELS, chat) == [
        Example("a", "b"),
        Example("hi>", "yo", ends=True),
        Example("dull It was", " terrible", (" terrible", " great")),
        Example("fine It was", " great", (" terrible", " great")),
    ]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a", "response": "b"}\r\n')
    assert read_examples(path) == [Example("a", "b")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "list, expected an object"),
        ("3", "int, expected an object"),
        ({"prompt": "a"}, "has the keys prompt"),
        ({}, "prompt and response"),
        ({"prompt": 1, "response": "b"}, "`prompt` is a int"),
        ({"prompt": "a", "response": ""}, "empty response"),
        ({"prompt": "a", "response": "b", "choices": "b"}, "list of strings"),
        ({"prompt": "a", "response": "b", "choices": ["c", "d"]}, "not among the choices"),
        ({"text": "a", "label": "okay"}, "neither one of"),
        ({"text": "a", "label": 2}, "neither one of"),
        ({"text": "a", "label": True}, "neither one of"),
        ({"messages": []}, "ends with the assistant"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, "ends with the assistant"),
        ({"messages": "hello"}, "ends with the assistant"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: object, words: str) -> None:
    path = write(tmp_path, {"prompt": "a", "response": "b"}, "", line)
    with pytest.raises(ExampleError, match=r"line 3: .*" + words):
        read_examples(path, LABELS, chat)


def test_text_and_label_without_a_template_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="--template"):
        read_examples(write(tmp_path, {"text": "a", "label": "b"}))


def test_bytes_that_are_not_utf8_and_lines_without_end(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"prompt": "a", "response": "b"}\n{"prompt": "\xff"}\n')
    with pytest.raises(ExampleError, match="line 2: not UTF-8"):
        read_examples(path)
    path.write_bytes(b"x" * (2**20 + 2))
    with pytest.raises(ExampleError, match="line 1: longer than"):
        read_examples(path)


def test_an_empty_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="holds no example"):
        read_examples(write(tmp_path, "", "  "))
    with pytest.raises(ExampleError, match="no file"):
        read_examples(tmp_path / "none.jsonl")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_raise_nothing_but_our_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(raw)
    with pytest.raises(ExampleError):
        read_examples(path, LABELS, chat)


@pytest.mark.parametrize(
    ("template", "names"), [("no place", ("a", "b")), ("{text}", ("a",)), ("{text}", ("a", "a"))]
)
def test_labels_that_cannot_work_are_refused(template: str, names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Labels(template, names)


def test_worked_examples_come_before_every_prompt() -> None:
    shown = LABELS.with_shots([("dull", 0), ("has {text} in it", 1)])
    example = shown.example("fine", "great")
    assert example.prompt.startswith("dull It was terrible\n\nhas { text } in it It was great\n\n")
    assert example.prompt.endswith("\n\nfine It was")
