"""MeZO (2305.17333, algorithm 1) on LoRA: one direction a step, walked in place from its seed, SGD.

settings: `rate`, `epsilon`. Whole sentences run through the whole network twice a step.
"""

from __future__ import annotations

from typing import Any

import torch
from _contract import Job, answer
from _learning import learned
from _sentences import BATCH, Sentences, batches

RANK, ALPHA = 8, 16
TRAJECTORY = 8  # bytes a step: a seed and a scalar, from which the adapter can be walked again


class Mezo(Sentences):
    """The paper's step; torch keeps no graph."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, RANK, ALPHA)
        self.model.eval()
        self._rate, self._epsilon = job.settings["rate"], job.settings["epsilon"]
        self._batches = batches(self.learn, BATCH, job.seed)
        self._seeds = torch.Generator().manual_seed(job.seed)
        self._steps = 0

    @torch.no_grad()
    def step(self) -> float:
        """+ε, −2ε, +ε along z(seed), then −η c z(seed)."""
        batch, seed = next(self._batches), int(torch.randint(2**31, (), generator=self._seeds))
        self._walk(seed, self._epsilon)
        above = float(self.losses(batch).mean())
        self._walk(seed, -2 * self._epsilon)
        below = float(self.losses(batch).mean())
        self._walk(seed, self._epsilon)
        self._walk(seed, -self._rate * (above - below) / (2 * self._epsilon))
        self._steps += 1
        return 2 * batch.real

    def _walk(self, seed: int, far: float) -> None:
        random = torch.Generator().manual_seed(seed)
        for parameter in self.trained.values():
            parameter.add_(torch.randn(parameter.shape, generator=random), alpha=far)

    @property
    def notes(self) -> str:
        """What its user may store instead."""
        return (
            f"or {TRAJECTORY * self._steps} bytes of seeds and scalars, walked again at each start"
        )


def run(job: Job) -> dict[str, Any]:
    """A run of MeZO."""
    return learned(job, Mezo(job))


if __name__ == "__main__":
    answer(run)
