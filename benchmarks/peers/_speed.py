"""What the peers that only infer are timed on: as `dsa-edge bench` does, with random tokens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

__all__ = ["NEW", "PROMPT", "REPEATS", "WARMUP", "prompt", "timed"]

PROMPT, NEW = 128, 32  # tokens of the prompt, and of the answer, whose first is not counted
WARMUP, REPEATS = 2, 7


def prompt(vocabulary: int) -> list[int]:
    """Random tokens; the first thousand, special ones among them, are left out."""
    return random.Random(0).sample(range(min(1000, vocabulary // 2), vocabulary), PROMPT)


def timed(
    read: Callable[[Sequence[int]], object], generate: Callable[[], object], tokens: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Tokens/s of each run: (of the prompt, of the answer). generate: one more token."""
    prompts, answers = [], []
    for _ in range(WARMUP + REPEATS):
        began = time.perf_counter()
        read(tokens)
        generate()
        first = time.perf_counter()
        for _ in range(NEW - 1):
            generate()
        prompts.append(len(tokens) / (first - began))
        answers.append((NEW - 1) / (time.perf_counter() - first))
    return prompts[WARMUP:], answers[WARMUP:]
