"""First-order LoRA as it is usually done: PEFT on torch, r 8 on q and v, Adam, whole sentences.

settings: `rate`; `checkpointing` recomputes each layer in the backward pass; `dtype` of weights and
activations (`bfloat16` where a processor multiplies in it).
"""

from __future__ import annotations

from typing import Any

import torch
from _contract import Job, answer
from _learning import learned
from _sentences import BATCH, Sentences, batches

RANK, ALPHA = 8, 16
PASSES = 3  # forwards that a step counts as: one, and two for the backward


class PeftLora(Sentences):
    """Adam on LoRA's factors."""

    notes = ""

    def __init__(self, job: Job) -> None:
        super().__init__(job, RANK, ALPHA)
        if job.settings.get("checkpointing"):
            self.decoder.gradient_checkpointing_enable({"use_reentrant": False})
            self.decoder.enable_input_require_grads()
        self.model.train()
        self._optimizer = torch.optim.Adam(self.trained.values(), lr=job.settings["rate"])
        self._batches = batches(self.learn, BATCH, job.seed)

    def step(self) -> float:
        """One step of Adam."""
        batch = next(self._batches)
        loss = self.losses(batch).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return PASSES * batch.real


def run(job: Job) -> dict[str, Any]:
    """A run of first order."""
    return learned(job, PeftLora(job))


if __name__ == "__main__":
    answer(run)
