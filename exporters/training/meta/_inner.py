"""The inner loop: what a user's examples make of a start, by exact gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.errors import ExportError
from dsa_edge.exporters.training.meta._prompts import Prompts
from dsa_edge.exporters.training.meta._settings import MetaSettings

__all__ = [
    "ADAPT",
    "BETAS",
    "JUDGE",
    "ROUND",
    "ROUTES",
    "Adapted",
    "Lots",
    "adapted",
    "drawn",
    "gradient",
]

BETAS = 0.9, 0.99  # as a device's Adam has them
ROUND, ADAPT, JUDGE, ROUTES = 1, 2, 3, 4  # streams that are drawn from

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Lots:
    """A user's examples for one inner loop: a batch a step, and those that nothing learns from."""

    steps: tuple[Ints, ...]
    query: Ints


@dataclass(frozen=True)
class Adapted:
    """θ (n,) after an inner loop, points on the way there (S, n), and each batch's loss before."""

    theta: Tensor
    points: Tensor
    losses: tuple[float, ...]


def drawn(
    count: int, steps: int, settings: MetaSettings, stream: int, number: int, key: str,
    query: int | None = None,
) -> Lots:  # fmt: skip
    """Which of a user's `count` examples an inner loop takes.

    It follows from the settings' seed, the stream, the number in it and the user's key alone, so a
    run that was interrupted draws the same.
    """
    random = np.random.default_rng([settings.seed, stream, number, int(key, 16)])
    shuffled = random.permutation(count).astype(np.int64)
    held = settings.query if query is None else query
    rest = shuffled[held:]
    turns = np.arange(steps * settings.batch).reshape(steps, -1) % len(rest)
    return Lots(tuple(rest[turn] for turn in turns), shuffled[:held])


def adapted(
    prompts: Prompts, start: Tensor, lots: Lots, rate: float, marks: Sequence[int] = ()
) -> Adapted:
    """Adam from a start (n,); marks: steps after which points are kept.

    Raises ExportError where the loss is no longer finite.
    """
    theta = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=rate, betas=BETAS)
    losses, points = list[float](), list[Tensor]()
    for step, batch in enumerate(lots.steps, start=1):
        theta.grad = gradient(prompts, theta, batch, losses)
        optimizer.step()
        if step in marks:
            points.append(theta.detach().clone())
    stacked = torch.stack(points) if points else start.new_zeros(0, start.numel())
    return Adapted(theta.detach(), stacked, tuple(losses))


def gradient(prompts: Prompts, theta: Tensor, batch: Ints, losses: list[float]) -> Tensor:
    """∇L (n,) of a batch at θ (n,); its loss is added to `losses`."""
    given = theta.detach().requires_grad_()
    loss = prompts.loss(given, batch)
    if not torch.isfinite(loss):
        raise ExportError(
            f"the loss of a user's examples is {loss.item()}: check the examples, or lower "
            "--inner-rate and --rate."
        )
    losses.append(loss.item())
    return torch.autograd.grad(loss, given)[0]
