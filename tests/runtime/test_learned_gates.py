"""Gates that learn: a policy's gradients, and fits whose routes follow what they earn."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gates import CHOICES, FILM, RAIN, WORDS, Tasks, gated, mixed, stub  # noqa: F401

from dsa_edge.errors import PrivacyError, UsageError
from dsa_edge.runtime import Budget, Example, Hyperparameters, Privacy
from dsa_edge.runtime._gates import differences, scattered
from dsa_edge.runtime._policy import advantages, drawn, pull, temperature
MARKS = ("early ", "slow ")

def alike(weight=2) -> list[Example]:
    """Two tasks that a word tells apart; the prompts differ far more in what says nothing."""
    made = []
    for number, word in enumerate(WORDS * 3):
        right = ord(word[-1]) % 2
        for task, mark in enumerate(MARKS):
            start = (RAIN, FILM)[(number // 2 + task) % 2]
            made.append(Example(f"{start}{mark*weight}{number} {word}", CHOICES[right ^ task], CHOICES))
    return made


def test_it(gated):
  for w in (1,2,4):
    for steps in (150, 400):
      for gate in ("clusters", "learned", "scratch"):
        for seed in range(3):
            me = stub(gated)
            r = me.fit(alike(w), Budget(steps=steps), hyperparameters=replace(Hyperparameters(), gate=gate), seed=seed)
            print(w, steps, gate, r.verdict, r.routes,  r.after.accuracy, me.evaluate(alike(w))[0].accuracy, r.notes)
  assert 0
