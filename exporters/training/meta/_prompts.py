"""A user's examples with their prompts run once, and the loss that a device minimizes on them.

The adapter acts on the invocation and the response alone, as deployed: hidden states at the split
layer and the prompt's keys and values do not depend on it and are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dsa_edge.clusters import alike
from dsa_edge.encoding import Encoded, Item
from dsa_edge.examples import Example
from dsa_edge.exporters.methods import Chains
from dsa_edge.exporters.model import TorchCaller
from dsa_edge.exporters.training.meta._host import Host
from dsa_edge.gate import Gate, Route

__all__ = ["Prompts", "Reader"]

SMOOTHING = 0.2  # of choices' targets, as `Hyperparameters` has it
LEVELLINGS = 30  # fixed-point steps of the label biases
TOKENS = 4096  # of prompts that are run at a time

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Kept:
    """What a prompt leaves: hidden (R, D), pooled (D,), float16 keys and values (A, kv, P, d)."""

    hidden: Tensor
    keys: Tensor
    values: Tensor
    pooled: Tensor

    @property
    def bytes(self) -> int:
        """What it takes of memory."""
        return self.hidden.nbytes + self.keys.nbytes + self.values.nbytes


class Reader:
    """Runs prompts and losses on a host model."""

    def __init__(self, host: Host) -> None:
        model = host.model
        spec = model.decoder.spec
        self.host, self.device, self.split = host, host.device, model.split
        frames = tuple(spec.frame_of(i) for i in range(spec.n_layers))
        self.chains: Chains[Tensor] = Chains(
            TorchCaller(model), spec.n_layers, model.split, model.adapter.invocation, frames
        )
        shape = spec.n_layers, 1, spec.n_kv_heads, 0, spec.head_dim
        self.empty = torch.zeros(shape, dtype=torch.float16, device=self.device)

    def prompts(self, examples: Sequence[Example]) -> Prompts:
        """Examples, ready to learn from; raises ExampleError for those that do not fit the base."""
        return Prompts(self, self.host.encoder.encode_all(examples))

    @torch.no_grad()
    def run(self, items: Sequence[Item]) -> list[_Kept]:
        """What each prompt leaves, prompts of similar length together."""
        order = sorted(range(len(items)), key=lambda i: len(items[i].prompt))
        kept: list[_Kept | None] = [None] * len(items)
        while order:
            longest = len(items[order[-1]].prompt) + max(len(items[i].tail) for i in order)
            at, order = order[-max(1, TOKENS // longest) :], order[: -max(1, TOKENS // longest)]
            for index, one in zip(at, self._prefill([items[i] for i in at]), strict=True):
                kept[index] = one
        return [one for one in kept if one is not None]

    def _prefill(self, items: Sequence[Item]) -> list[_Kept]:
        prompts, tails = (_padded([getattr(i, n) for i in items]) for n in ("prompt", "tail"))
        lengths = torch.tensor([len(item.prompt) for item in items])
        prompts, tails, lengths = (t.to(self.device) for t in (prompts, tails, lengths))
        with self.device:
            made = self.chains.prefill(prompts, tails, lengths, self.empty, self.empty)
        return [
            _Kept(
                made["hidden"][at, : len(item.tail)].clone(),
                made["keys"][self.split :, at, :, : len(item.prompt)].clone(),
                made["values"][self.split :, at, :, : len(item.prompt)].clone(),
                made["pooled"][at].clone(),
            )
            for at, item in enumerate(items)
        ]

    def context(self, items: Sequence[Item], kept: Sequence[_Kept]) -> list[Tensor]:
        """A padded batch as the methods take it, without lanes and adapter."""
        rows, past = (max(map(len, lists)) for lists in _lists(items))
        prefix = self.empty[self.split :]
        hidden = torch.stack([_grown(k.hidden, 0, rows) for k in kept])
        caches = [
            torch.stack([_grown(cache, 2, past) for cache in caches], 1)
            for caches in ([k.keys for k in kept], [k.values for k in kept])
        ]
        lengths = torch.tensor([len(item.prompt) for item in items], device=self.device)
        return [hidden, prefix, prefix, *caches, lengths, torch.zeros(1, device=self.device)]


class Prompts:
    """The loss over a set of examples, as `runtime/_objective.py` has it, with gradients."""

    def __init__(self, reader: Reader, encoded: Sequence[Encoded]) -> None:
        self._reader, self._encoded = reader, encoded
        items = [item for example in encoded for item in example.items]
        counts = np.cumsum([0, *(len(example.items) for example in encoded)])
        self._first, self._items, self._kept = counts, items, reader.run(items)
        sets = {example.choices for example in encoded}
        self._shared = len(sets) == 1 and bool(sets.pop())
        tokens = sorted({t for example in encoded for t in example.tokens or ()})
        self._candidates = torch.tensor(tokens, device=reader.device)
        self._alike = alike([items[at].prompt for at in counts[:-1]])
        self._blocks: Ints | None = None  # (E, k) that serve each example

    def __len__(self) -> int:
        return len(self._encoded)

    @property
    def bytes(self) -> int:
        """What the prompts take of memory."""
        return sum(kept.bytes for kept in self._kept)

    @property
    def size(self) -> int:
        """Numbers of the adapter, n."""
        return self._reader.host.model.size

    @property
    def pooled(self) -> NDArray[np.float32]:
        """What a gate reads of each example, (E, D)."""
        states = [self._kept[at].pooled for at in self._first[:-1]]
        return torch.stack(states).cpu().numpy()[self._alike]

    def route_by(self, gate: Gate | None) -> None:
        """Let a gate choose the blocks of every example, alike for the same prompt."""
        active = self._reader.host.model.adapter.active
        self._blocks = None if gate is None else gate.route(self.pooled, active).index

    def route_as(self, batch: Ints, blocks: Ints) -> None:
        """Give examples the blocks (B, k), until a gate routes all again."""
        assert self._blocks is not None  # a gate came first
        self._blocks[batch] = blocks

    def loss(self, theta: Tensor, batch: Ints) -> Tensor:
        """Mean loss at θ (n,): nats a token, or of choices beside what label biases explain."""
        return self.losses(theta, batch).mean()

    def losses(self, theta: Tensor, batch: Ints) -> Tensor:
        """Each example's own (B,); label biases are those of the batch."""
        scores = self._scores(theta, batch)
        if not self._shared:
            return torch.stack([self._one(*pair) for pair in scores])
        stacked, answers = self._stacked(scores)
        bias = _levelled(stacked.detach(), answers)
        return functional.cross_entropy(
            stacked + bias, answers, reduction="none", label_smoothing=SMOOTHING
        )

    @torch.no_grad()
    def judged(self, theta: Tensor, support: Ints, query: Ints) -> float:
        """Mean loss at θ (n,) on a query set, with label biases of a support set."""
        parts = [query[at : at + len(support)] for at in range(0, len(query), len(support))]
        scores = [pair for part in parts for pair in self._scores(theta, part)]
        if not self._shared:
            return float(torch.stack([self._one(*pair) for pair in scores]).mean())
        bias = _levelled(*self._stacked(self._scores(theta, support)))
        stacked, answers = self._stacked(scores)
        return float(functional.cross_entropy(stacked + bias, answers))

    def _one(self, score: Tensor, example: Encoded) -> Tensor:
        if len(score) == 1:
            return -score[0] / float(example.items[0].weights.sum())
        return functional.cross_entropy(
            score, torch.tensor(example.answer, device=score.device), label_smoothing=SMOOTHING
        )

    def _stacked(self, scores: Sequence[tuple[Tensor, Encoded]]) -> tuple[Tensor, Tensor]:
        """Scores (B, K) and answers (B,) of examples that share their choices."""
        stacked = torch.stack([score for score, _ in scores])
        answers = [example.answer for _, example in scores]
        return stacked, torch.tensor(answers, device=stacked.device)

    def _scores(self, theta: Tensor, batch: Ints) -> list[tuple[Tensor, Encoded]]:
        """Each example's scores (choices,): log-probabilities, up to a constant."""
        single = [self._encoded[i].tokens is not None for i in batch]
        scored: dict[int, Tensor] = {}
        for which, score in ((True, self._token_scores), (False, self._sequence_scores)):
            at = [place for place, is_single in enumerate(single) if is_single is which]
            if at:
                scored.update(zip(at, score(theta, batch[at]), strict=True))
        return [(scored[at], self._encoded[index]) for at, index in enumerate(batch)]

    def _token_scores(self, theta: Tensor, batch: Ints) -> list[Tensor]:
        context = self._context([int(self._first[i]) for i in batch])
        with self._reader.device:
            made = self._reader.chains.choose(
                *context, theta[None], self._candidates, *self._route(batch)
            )
        own = [torch.tensor(self._encoded[i].tokens, device=theta.device) for i in batch]
        columns = [torch.searchsorted(self._candidates, tokens) for tokens in own]
        return [made["log_probs"][0, at, columns[at]] for at in range(len(batch))]

    def _sequence_scores(self, theta: Tensor, batch: Ints) -> list[Tensor]:
        counts = [len(self._encoded[i].items) for i in batch]
        at = [item for i in batch for item in range(self._first[i], self._first[i + 1])]
        items = [self._items[i] for i in at]
        targets, weights = (_padded([getattr(i, n) for i in items]) for n in ("targets", "weights"))
        given = (t.to(theta.device) for t in (targets, weights))
        with self._reader.device:
            made = self._reader.chains.probe(
                *self._context(at), theta[None], *given, *self._route(np.repeat(batch, counts))
            )
        return list((-made["losses"][0]).split(counts))

    def _route(self, rows: Ints) -> tuple[Tensor, ...]:
        """What the methods take of routes, for rows of examples; nothing without a gate."""
        if self._blocks is None:
            return ()
        route = Route.of(self._blocks[rows])
        return tuple(
            torch.from_numpy(p).to(self._reader.device) for p in (route.index, route.weight)
        )

    def _context(self, at: Sequence[int]) -> list[Tensor]:
        return self._reader.context([self._items[i] for i in at], [self._kept[i] for i in at])


def _levelled(scores: Tensor, answers: Tensor) -> Tensor:
    """Label biases (K,) under which predictions are as frequent as the answers of scores (B, K).

    What a base prefers whatever it reads is no user's: a device fits the same biases first.
    """
    count = scores.shape[1]
    wanted = torch.bincount(answers, minlength=count) / len(answers)
    wanted = ((1 - SMOOTHING) * wanted + SMOOTHING / count).log()
    bias = torch.zeros_like(wanted)
    for _ in range(LEVELLINGS):
        bias = bias + wanted - (scores + bias).softmax(-1).mean(0).log()
    return bias


def _lists(items: Sequence[Item]) -> tuple[list[Any], list[Any]]:
    return [item.tail for item in items], [item.prompt for item in items]


def _padded(rows: Sequence[NDArray[Any]]) -> Tensor:
    """Rows of different lengths as one tensor (N, width), zeros behind."""
    out = np.zeros((len(rows), max(map(len, rows))), dtype=rows[0].dtype)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return torch.from_numpy(out)


def _grown(tensor: Tensor, axis: int, size: int) -> Tensor:
    """Zeros behind, along an axis."""
    behind = [0, 0] * (tensor.ndim - 1 - axis) + [0, size - tensor.shape[axis]]
    return functional.pad(tensor, behind)
