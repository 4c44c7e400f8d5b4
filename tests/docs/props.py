"""The files that the pages speak of, with a few lines in each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["MODEL", "TEXTS", "write_texts"]

MODEL = "SmolLM2-135M-Instruct"
TEXTS = ["a dull film", "a warm film"] * 8
MAILS = [("Dear", " team, as promised:"), ("Hi", " all, it is done.")] * 16


def write_texts(folder: Path) -> None:
    """Write them into a folder."""
    mails = [{"prompt": prompt, "response": response} for prompt, response in MAILS]
    labelled = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    prose = [{"text": f"{text}, and the rain fell on the roof all night."} for text in TEXTS]
    (folder / "people").mkdir()
    for person in range(20):  # of whom a fifth, by their names, only judge
        own = [{"prompt": f"{t}, {person}", "response": f" {person % 7}."} for t in TEXTS * 2]
        _write(folder / "people" / f"person{person}.jsonl", own)
    for name in ("reviews", "test", "train"):
        _write(folder / f"{name}.jsonl", labelled)
    for name in ("mixed", "long"):
        _write(folder / f"{name}.jsonl", mails)
    _write(folder / "texts.jsonl", prose)
    (folder / "letters.txt").write_text("Dear team, the garden was green in the morning. " * 3)
    (folder / "prompt.txt").write_text("Review: {text} Sentiment:")


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)))
