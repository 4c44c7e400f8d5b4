"""Example files made to break the reader: an example or an ExampleError, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example, Labels, read_examples
from dsa_edge.runtime import Budget, Personalizer

LABELS = Labels("{text} It was", ("terrible", "great"))

LINES = {
    "a number of 5,000 digits": '{"prompt": "a", "response": "b", "n": ' + "9" * 5000 + "}",
    "lists without end": "[" * 100_000,
    "objects without end": '{"a":' * 100_000,
    "a NUL": '{"prompt": "a\x00", "response": "b"}',
    "two objects": '{"prompt": "a", "response": "b"}{"prompt": "a", "response": "b"}',
    "single quotes": "{'prompt': 'a', 'response': 'b'}",
    "a comma too many": '{"prompt": "a", "response": "b",}',
    "a list of examples": '[{"prompt": "a", "response": "b"}]',
    "a prompt that is a list": '{"prompt": ["a"], "response": "b"}',
    "a response that is null": '{"prompt": "a", "response": null}',
    "choices with a number": '{"prompt": "a", "response": "b", "choices": ["b", 1]}',
    "choices in an object": '{"prompt": "a", "response": "b", "choices": {"b": 1}}',
    "a label that is a list": '{"text": "a", "label": [0]}',
    "a label that is a fraction": '{"text": "a", "label": 0.0}',
    "a label below zero": '{"text": "a", "label": -1}',
    "a label of 5,000 digits": '{"text": "a", "label": ' + "1" * 4000 + "}",
    "messages with a number": '{"messages": [{"role": "user", "content": 1}]}',
    "messages in an object": '{"messages": {"role": "assistant", "content": "x"}}',
    "a lone answer": '{"messages": [{"role": "assistant", "content": "x"}]}',
}


@pytest.mark.parametrize("name", LINES)
def test_a_hostile_line_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.jsonl"
    path.write_text('{"text": "fine", "label": 0}\n' + LINES[name] + "\n")
    with pytest.raises(ExampleError, match=r"hostile\.jsonl, line 2: "):
        read_examples(path, LABELS, lambda *_: "chat")


def test_a_folder_and_a_huge_file_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="no file"):
        read_examples(tmp_path)
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(2**30 + 1)  # sparse
    with pytest.raises(ExampleError, match="larger than"):
        read_examples(tmp_path / "huge")


KEYS = st.sampled_from(["prompt", "response", "choices", "messages", "text", "label", "role", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_object_is_an_example_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "objects.jsonl"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        (read,) = read_examples(path, LABELS, lambda *_: "chat")
    except ExampleError as error:
        assert "line 1: " in str(error)
        return
    assert isinstance(read.prompt, str)
    assert read.response
    assert not read.choices or read.response in read.choices


def test_half_a_character_in_a_file_names_the_example(bundle: Path, tmp_path: Path) -> None:
    """JSON can spell lone surrogates; no tokenizer can read them."""
    path = tmp_path / "half.jsonl"
    good = '{"prompt": "He did", "response": " not"}'
    for bad in (
        '{"prompt": "\\ud83d", "response": "b"}',
        '{"prompt": "a", "response": "\\ude00"}',
        '{"prompt": "a", "response": "b", "choices": ["b", "\\ude00"]}',
    ):
        path.write_text(f"{good}\n{bad}\n")
        examples = read_examples(path)
        with Personalizer.open(bundle) as me:
            for call in (me.fit, me.evaluate):
                with pytest.raises(ExampleError, match="example 2: .*surrogate"):
                    call(examples)


def test_text_that_looks_like_a_template_stays_text() -> None:
    example = Labels("{text} It was", ("{text}", "great")).example("{text} {0} %s {{ x }}", 0)
    assert example.prompt == "{text} {0} %s {{ x }} It was"
    assert example.response == " {text}"


@pytest.mark.parametrize(
    "prompt", ["", " ", "\x00", "\n" * 50, "👩‍👩‍👧" * 3, "<|eos|>", "\u202egnp.exe", "a\u0301"]
)
def test_strange_prompts_are_learned_from_like_any_other(bundle: Path, prompt: str) -> None:
    choices = (" a", " b")
    with Personalizer.open(bundle) as me:
        report = me.fit([Example(prompt, c, choices) for c in choices], Budget(steps=1))
        assert report.steps == 1
        assert sum(me.choose(prompt, choices).probabilities) == pytest.approx(1, abs=1e-5)
        assert isinstance(me.generate(prompt, 2), str)
