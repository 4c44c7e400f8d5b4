"""Learn masks for a few steps, an adapter beside them: which units does this task need?

Early pruning of Light-PEFT (2406.03792): L = L_task + λ (Σ|m_kv| + Σ|m_ffn|), by first-order steps
on the host. Over the second half of the steps, when masks and adapter have settled:

    unit        mean over examples |m · ∂L/∂m|: to first order, how far taking it out moves an
                example's loss, in nats; moves of different signs do not cancel
    direction   mean |w · ∂L_task/∂w| over the core's entries that belong to it
    target      mean ‖what the adapter adds‖ / ‖output‖
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from dsa_edge.adapter import make_slots
from dsa_edge.errors import ExportError
from dsa_edge.exporters.adapters import BLOCKS, Route
from dsa_edge.exporters.adapters.core import Core
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.training._masks import Masks, Moved
from dsa_edge.exporters.training._pruning import Pruning
from dsa_edge.exporters.training._texts import Biases, Sentence, batches, padded
from dsa_edge.exporters.training._units import Importance

__all__ = ["learn", "logits_of"]

KV_RATE, FFN_RATE = 0.03, 0.015  # 100 and 50 times 3e-4, as the paper's scripts have them
ADAPTER_RATE, BIAS_RATE = 3e-3, 0.03


def learn(
    model: AdaptedModel,
    given: Sequence[Sentence],
    pruning: Pruning,
    on_step: Callable[[str], object],
) -> Importance:
    """The importance of all units, targets and directions.

    model: with float weights and the blocks of its adapter; it is not changed.
    on_step: called before each step with what a progress bar shows.
    Raises ExportError when the loss is no longer finite.
    """
    run = _Run(model)
    for step, batch in enumerate(
        islice(batches(given, pruning.batch, pruning.seed), pruning.steps)
    ):
        on_step(f"mask step {step + 1} of {pruning.steps}{run.told}")
        run.step(batch, pruning.penalty, counts=2 * step >= pruning.steps)
    return run.importance()


def logits_of(
    model: AdaptedModel, masks: Masks, theta: Tensor | None, batch: Sequence[Sentence],
    moved: Moved | None = None,
) -> Tensor:  # fmt: skip
    """Logits (M, V) at the positions that predict a response, example by example.

    theta: the adapter (n,), None for the base alone.
    """
    tokens = padded(batch)
    place = torch.arange(tokens.shape[1])
    invocation = model.adapter.invocation
    active = torch.stack([place > s.first - invocation for s in batch])  # the response too
    asking = torch.stack([(place >= s.first) & (place < len(s.tokens) - 1) for s in batch])
    adapter = {} if theta is None else model.lanes(theta[None], active)
    x = model.decoder.states(tokens, masks.lanes(adapter, Route.ungated(active), moved))
    logits: Tensor = model.decoder.top(x[0][asking])
    return logits


class _Run:
    """Masks, adapter and label biases while they are learned, and what is known of each."""

    def __init__(self, model: AdaptedModel) -> None:
        self.model, self.masks = model, Masks.ones(model.decoder.spec)
        self.theta = model.start().requires_grad_()
        self.biases, self.moved = Biases(), Moved()
        self.told, self._counted = "", 0
        self._sums = [torch.zeros_like(part) for part in self._parts()]
        rates = (KV_RATE, FFN_RATE, ADAPTER_RATE)
        groups = [{"params": [p], "lr": rate} for p, rate in zip(self._parts(), rates, strict=True)]
        self._optimizer = torch.optim.Adam(groups)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.masks.kv, self.masks.ffn, self.theta

    def step(self, batch: Sequence[Sentence], penalty: float, counts: bool) -> None:
        """One step of everything; counts: whether importance is taken from it."""
        each = self.masks.each(len(batch))
        logits = logits_of(self.model, each, self.theta, batch, self.moved if counts else None)
        loss = self.biases.loss(logits, batch)
        if not torch.isfinite(loss):
            raise ExportError(
                f"the loss of the mask steps is {loss.item()}: check the examples, or prune by a "
                "smaller share."
            )
        self._optimizer.zero_grad()
        loss.backward()
        self.told = f", {loss.item():.3f} nats"
        if counts:
            self._count(each)
        with torch.no_grad():
            for mask in (self.masks.kv, self.masks.ffn):
                assert mask.grad is not None
                mask.grad += penalty * mask.sign()
            for bias in self.biases.parameters():
                if bias.grad is not None:  # its choices are in this batch
                    bias -= BIAS_RATE * bias.grad
                    bias.grad = None
        self._optimizer.step()

    def _count(self, each: Masks) -> None:
        """The loss is a mean over examples, so their own gradients are shares that sum to it."""
        self._counted += 1
        for total, part in zip(self._sums, (each.kv, each.ffn, self.theta), strict=True):
            assert part.grad is not None
            moved = (part.detach() * part.grad).abs()
            total += moved if part is self.theta else moved.sum(0)

    def importance(self) -> Importance:
        """Means over the steps that counted."""
        kv, ffn, theta = ((total / self._counted).double().numpy() for total in self._sums)
        return Importance(
            kv, ffn,
            {point: total / self._counted for point, total in self.moved.sums.items()},
            dict(self._directions(theta)),
        )  # fmt: skip

    def _directions(self, theta: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Of a core's entries to its directions: an entry belongs to both that it joins."""
        if not issubclass(BLOCKS[self.model.adapter.kind], Core):
            return
        for slot in make_slots(self.model.adapter, self.model.decoder.spec.geometry):
            own = theta[slot.offset : slot.offset + slot.size].reshape(slot.shape)
            yield slot.name, own if own.ndim == 1 else own.sum(0) + own.sum(1)
