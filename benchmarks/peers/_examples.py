"""The three tasks as files: the same texts, and the same tokens, for every peer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _tasks import FOLDER, load_task

from dsa_edge.atomic import write_atomic
from dsa_edge.bundle import Bundle
from dsa_edge.encoding import Encoded
from dsa_edge.examples import Example
from dsa_edge.runtime._encode import Encoder
from dsa_edge.tokenizer import Tokenizer

__all__ = ["TASKS", "Sort", "read_examples", "write_task"]


@dataclass(frozen=True)
class Sort:
    """A kind of task: where its texts are from (`_tasks.py`), and how many are taken."""

    source: str
    learn: int
    held: int
    about: str


# A user has hundreds of short answers, but not of long documents. A look at a post costs as much as
# one at twenty short answers: each of its tokens is a target, over the whole vocabulary.
TASKS = {
    "short": Sort("reviews", 512, 200, "film reviews, 2 labels, prompts of 32 tokens (mean)"),
    "long": Sort("articles", 128, 64, "BBC articles, 5 topics, prompts of 326 tokens"),
    "multi": Sort("posts", 128, 50, "posts of one account, every token a target, 19 (mean)"),
}


def write_task(name: str, bundle: Path, seed: int, folder: Path, data: Path = FOLDER) -> Path:
    """A task's file for one seed; made once, and anew where other numbers of texts are wanted.

    Raises ExampleError with the command to get its texts where they are missing.
    """
    sort, path = TASKS[name], folder / f"{name}-{seed}.json"
    if not path.is_file() or tuple(map(len, read_examples(str(path)))) != (sort.learn, sort.held):
        opened = Bundle.open(bundle, check_hashes=False)
        tokenizer = Tokenizer.of(opened)
        task = load_task(sort.source, tokenizer, data)
        learn, held = task.learn(seed)[: sort.learn], task.held_out[: sort.held]
        encoder = Encoder(tokenizer, opened.manifest)
        rows = {
            "learn": [_row(example, encoder.encode(example)) for example in learn],
            "held": [_row(example, encoder.encode(example)) for example in held],
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(rows).encode())
    return path


def read_examples(path: str) -> tuple[list[Example], list[Example]]:
    """(to learn from, held out) as texts."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    learn, held = ([_example(row["text"]) for row in content[part]] for part in ("learn", "held"))
    return learn, held


def _example(fields: dict[str, Any]) -> Example:
    return Example(**{**fields, "choices": tuple(fields["choices"])})


def _row(example: Example, encoded: Encoded) -> dict[str, Any]:
    """Choices of several tokens have no one token each: no task here has them."""
    assert encoded.tokens is not None or not example.choices
    item = encoded.items[0]
    sentence = [*item.prompt.tolist(), *item.tail.tolist()]
    response = item.targets[item.weights > 0].tolist()
    ids = {
        "prompt": sentence[: len(sentence) - len(response) + 1],
        "response": response,
        "candidates": list(encoded.tokens or ()),
        "answer": encoded.answer,
    }
    return {"text": asdict(example), "ids": ids}
