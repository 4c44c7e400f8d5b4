"""Lanes replicated from the embedding: P-RGE of MobiZO (2409.15520), written from the paper.

LoRA-FA: A is frozen, B is trained. A step asks q directions, each from both sides, in one forward:
the batch is repeated 2q times from the embedding on, and lane l multiplies by its own B ± εz.
settings: `rate`, `epsilon`, `queries`. q × batch is 16, as in the paper.
"""

from __future__ import annotations

from typing import Any

import torch
from _contract import Job, answer
from _learning import learned
from _sentences import BATCH, Batch, Sentences, batches
from torch import Tensor, nn

RANK, ALPHA = 16, 32


class LaneB(nn.Module):
    """B (n_out, r) for every lane: rows come lane by lane."""

    def __init__(self, b: nn.Linear) -> None:
        super().__init__()
        self.weight = b.weight
        self.lanes: Tensor | None = None  # (L, n_out, r)

    def forward(self, x: Tensor) -> Tensor:
        """x (L × B, T, r) → (L × B, T, n_out)."""
        if self.lanes is None:
            return x @ self.weight.T
        lanes, (rows, length, rank) = len(self.lanes), x.shape
        own = x.view(lanes, rows // lanes * length, rank)
        return (own @ self.lanes.transpose(1, 2)).view(rows, length, -1)


class ReplicatedLanes(Sentences):
    """The paper's step."""

    notes = ""

    def __init__(self, job: Job) -> None:
        super().__init__(job, RANK, ALPHA)
        self.model.eval()
        self._rate, self._epsilon = job.settings["rate"], job.settings["epsilon"]
        self._queries = int(job.settings["queries"])
        self._batches = batches(self.learn, max(1, BATCH // self._queries), job.seed)
        self._random = torch.Generator().manual_seed(job.seed)
        self._lanes = [_lane_b(layer) for layer in self.model.modules() if hasattr(layer, "lora_B")]
        self.trained = {n: p for n, p in self.trained.items() if "lora_B" in n}
        self.size = sum(p.numel() for p in self.trained.values())

    @torch.no_grad()
    def step(self) -> float:
        """One forward of 2q lanes, then B ← B − η · mean over q of c z."""
        batch = next(self._batches)
        directions = [
            torch.randn(self._queries, *lane.weight.shape, generator=self._random)
            for lane in self._lanes
        ]
        for lane, z in zip(self._lanes, directions, strict=True):
            lane.lanes = lane.weight + self._epsilon * torch.cat([z, -z])
        losses = self._lane_losses(batch)
        slopes = (losses[: self._queries] - losses[self._queries :]) / (2 * self._epsilon)
        for lane, z in zip(self._lanes, directions, strict=True):
            lane.lanes = None
            lane.weight -= self._rate * torch.tensordot(slopes, z, 1) / self._queries
        return 2 * self._queries * batch.real

    def user_bytes(self) -> int:
        """Of every B in float32: A is the same for all users."""
        return 4 * self.size

    def _lane_losses(self, batch: Batch) -> Tensor:
        """(2q,) mean nats of each lane."""
        lanes, (size, _) = 2 * self._queries, batch.tokens.shape
        rows = torch.cat([batch.rows + torch.tensor([lane * size, 0]) for lane in range(lanes)])
        many = Batch(
            batch.tokens.repeat(lanes, 1), rows, batch.targets.repeat(lanes), batch.candidates,
            lanes * batch.real,
        )  # fmt: skip
        return self.losses(many).view(lanes, -1).mean(1)


def _lane_b(layer: Any) -> LaneB:
    """Put a `LaneB` where a LoRA layer has its B."""
    made = LaneB(layer.lora_B["default"])
    layer.lora_B["default"] = made
    return made


def run(job: Job) -> dict[str, Any]:
    """A run of P-RGE."""
    return learned(job, ReplicatedLanes(job))


if __name__ == "__main__":
    answer(run)
