"""Examples: what a user gives to learn from, and the JSONL files that hold them.

One JSON object a line, in one of three forms:

    {"prompt": "...", "response": "..."}            optionally "choices": ["...", "..."]
    {"messages": [{"role": "user", "content": ...}, ..., {"role": "assistant", ...}]}
    {"text": "...", "label": "great"}               with a template and labels
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dsa_edge.errors import ExampleError, UsageError

__all__ = [
    "Chat", "Example", "Labels", "Row", "read_examples", "read_rows", "read_texts",
    "read_user_examples",
]  # fmt: skip

T = TypeVar("T")

MAX_LINE = 1 << 20  # bytes of one line
MAX_FILE = 1 << 30  # bytes of one file

Chat = Callable[[Sequence[dict[str, str]], bool], str]
Row = tuple[str, object]  # text, label


@dataclass(frozen=True)
class Example:
    """One thing to learn: after `prompt`, answer `response`.

    choices: all possible answers, `response` among them; the loss is then over them alone.
    ends: the response is complete, so the end of the turn is learned as well.
    """

    prompt: str
    response: str
    choices: tuple[str, ...] = ()
    ends: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be learned."""
        if not self.response:
            raise ExampleError("an example has an empty response: give at least one character.")
        if self.choices and self.response not in self.choices:
            raise ExampleError(
                f"response {self.response!r} is not among the choices {list(self.choices)}: "
                "correct the response or add it to the choices."
            )


@dataclass(frozen=True)
class Labels:
    """How labelled texts become prompts: `Labels("{text} It was", ("terrible", "great"))`.

    template: the prompt, with {text} where the text goes.
    names: the words that answer, one a class; a file may also name a class by its index.
    plain: what a text goes through before it stands in a prompt. `Personalizer.plain` keeps special
        tokens that a user typed from being more than text.
    """

    template: str
    names: tuple[str, ...]
    plain: Callable[[str], str] = field(default=str, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse templates and label sets that cannot work."""
        if "{text}" not in self.template:
            raise UsageError(
                f"template {self.template!r} has no {{text}}: say where the text goes, "
                "as in '{text} It was'."
            )
        if len(self.names) < 2 or len(set(self.names)) != len(self.names) or "" in self.names:
            raise UsageError(
                f"labels are {list(self.names)}, expected at least two distinct words: "
                "correct --labels."
            )

    def with_shots(self, shots: Sequence[tuple[str, object]]) -> Labels:
        """The same labels with worked examples, (text, label) each, before every prompt.

        All prompts then begin alike; the runtime runs and keeps that beginning once.
        """
        shown = [self.example(text, label) for text, label in shots]
        worked = "".join(f"{example.prompt}{example.response}\n\n" for example in shown)
        return Labels(worked.replace("{text}", "{ text }") + self.template, self.names, self.plain)

    def example(self, text: str, label: object) -> Example:
        """The example for one labelled text.

        Raises ExampleError for a label that is neither a name nor an index.
        """
        choices = self.choices
        return Example(self.prompt(text), choices[self._index(label)], choices)

    def prompt(self, text: str) -> str:
        """The prompt for a text whose label is to be chosen."""
        return self.template.replace("{text}", self.plain(text.strip()))

    @property
    def choices(self) -> tuple[str, ...]:
        """The names as they continue a prompt: a word's leading space belongs to its token."""
        glue = "" if self.prompt("x")[-1:].isspace() else " "
        return tuple(name if name[:1].isspace() else glue + name for name in self.names)

    def _index(self, label: object) -> int:
        if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(self.names):
            return label
        stripped = [name.strip() for name in self.names]
        if isinstance(label, str) and label.strip() in stripped:
            return stripped.index(label.strip())
        raise ExampleError(
            f"label {label!r} is neither one of {', '.join(map(repr, stripped))} nor an index "
            f"below {len(self.names)}: correct the file or --labels."
        )


def read_examples(
    path: str | Path, labels: Labels | None = None, chat: Chat | None = None
) -> list[Example]:
    """Read a JSONL file.

    labels: needed for lines with `text` and `label`.
    chat: renders `messages` (a tokenizer's `chat`); needed for lines that have them.
    Raises ExampleError with the line number for anything that is not an example.
    """
    return _read(Path(path), lambda content: _parse(content, labels, chat))


def read_user_examples(
    path: str | Path, labels: Labels | None = None, chat: Chat | None = None
) -> dict[str, list[Example]]:
    """Read a JSONL file of many users, whose lines have a `user` beside an example's fields.

    Raises ExampleError with the line number as `read_examples`, and for lines without a user.
    """
    users: dict[str, list[Example]] = {}
    for user, example in _read(Path(path), lambda c: (_user(c), _parse(c, labels, chat))):
        users.setdefault(user, []).append(example)
    return users


def read_rows(path: str | Path, labels: Labels) -> list[Row]:
    """Read a JSONL file of labelled texts as they are, to choose worked examples from.

    Raises ExampleError with the line number for lines without `text` and one of the labels.
    """
    return _read(Path(path), lambda content: _row(content, labels))


def read_texts(path: str | Path, chat: Chat) -> list[str]:
    """Read a JSONL file for its texts alone, as a model would see them; labels do not matter.

    Raises ExampleError with the line number for lines without text.
    """
    return _read(Path(path), lambda content: _running_text(content, chat))


def _read(file: Path, parse: Callable[[dict[str, Any]], T]) -> list[T]:
    read = []
    for number, line in _lines(file):
        try:
            read.append(parse(_object(line)))
        except ExampleError as error:
            raise ExampleError(f"{file}, line {number}: {error}") from error
    if not read:
        raise ExampleError(f"{file} holds no example: write one JSON object a line.")
    return read


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Non-empty lines with their numbers, from 1."""
    if not file.is_file():
        raise ExampleError(f"no file {file}: give a JSONL file with one example a line.")
    if file.stat().st_size > MAX_FILE:
        raise ExampleError(f"{file} is larger than {MAX_FILE} bytes: split it.")
    with file.open("rb") as stream:
        number = 0
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                raise ExampleError(
                    f"{file}, line {number}: longer than {MAX_LINE} bytes; one example a line."
                )
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ExampleError(
                    f"{file}, line {number}: not UTF-8 (byte {error.start + 1}); "
                    "save the file as UTF-8."
                ) from error
            if text:
                yield number, text


def _object(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of 5,000 digits
        raise ExampleError(f"not JSON ({error}); write one JSON object a line.") from error
    if not isinstance(content, dict):
        raise ExampleError(f"a JSON {type(content).__name__}, expected an object.")
    return content


def _parse(content: dict[str, Any], labels: Labels | None, chat: Chat | None) -> Example:
    if "messages" in content:
        return _from_messages(content["messages"], chat)
    if "text" in content and "label" in content:
        if labels is None:
            raise ExampleError(
                "it has `text` and `label`, which need --template '{text} It was' and "
                "--labels a,b to become a prompt."
            )
        return labels.example(_text(content, "text"), content["label"])
    if "prompt" in content and "response" in content:
        choices = content.get("choices", [])
        if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
            raise ExampleError("`choices` must be a list of strings.")
        return Example(_text(content, "prompt"), _text(content, "response"), tuple(choices))
    raise ExampleError(
        f"it has the keys {', '.join(sorted(content)) or 'of nothing'}, expected "
        "prompt and response, or messages, or text and label: correct the line."
    )


def _user(content: dict[str, Any]) -> str:
    user = content.get("user")
    if not isinstance(user, str) or not user:
        raise ExampleError(
            '`user` is missing or no text: say whose example it is, as {"user": "ann", ...}, or '
            "give a folder with one file a user."
        )
    return user


def _row(content: dict[str, Any], labels: Labels) -> Row:
    if "text" not in content or "label" not in content:
        raise ExampleError(
            f"it has the keys {', '.join(sorted(content)) or 'of nothing'}, and worked examples "
            "are picked from lines with `text` and `label`: leave --shots out."
        )
    labels.example(_text(content, "text"), content["label"])  # refuses a label that is none
    return content["text"], content["label"]


def _running_text(content: dict[str, Any], chat: Chat) -> str:
    if "text" in content:
        return _text(content, "text")
    example = _parse(content, None, chat)
    return example.prompt + example.response


def _from_messages(messages: Any, chat: Chat | None) -> Example:
    valid = isinstance(messages, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    )
    if not valid or len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ExampleError(
            "`messages` must be a list of {role, content} that ends with the assistant's answer."
        )
    if chat is None:
        raise ExampleError("`messages` need a base with a chat template.")
    return Example(chat(messages[:-1], True), messages[-1]["content"], ends=True)


def _text(content: dict[str, Any], key: str) -> str:
    value = content[key]
    if not isinstance(value, str):
        raise ExampleError(f"`{key}` is a {type(value).__name__}, expected a string.")
    return value
