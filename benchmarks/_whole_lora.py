"""First order as it is usually done: LoRA r 8 on q and v of all layers, whole sentences, Adam.

In torch autograd over the same base as ours, float32 weights, with or without checkpoints of the
layers' inputs. The loss is the cross-entropy over the choices, or over all tokens of a free
response, without label biases. A backward counts as two forwards; nothing else is counted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dsa_edge.exporters.decoder import Decoder
from dsa_edge.runtime._encode import Encoded

__all__ = ["Lora", "learn", "measure"]

RANK, SCALE, BATCH = 8, 2.0, 16  # α = 16
PASSES = 3  # forwards that a step costs: one, and two for the backward


class Lora:
    """Trained factors of q and v in every layer: A (r, n_in) uniform, B (n_out, r) zero."""

    def __init__(self, decoder: Decoder, seed: int) -> None:
        device = decoder.top.norm.gain.device
        random_numbers = torch.Generator().manual_seed(seed)
        self.pairs: list[dict[str, tuple[Tensor, Tensor]]] = []
        for _ in range(decoder.spec.n_layers):
            layer = {}
            for target in ("q", "v"):
                n_out, n_in = decoder.spec.target_shape(target)
                a = (2 * torch.rand(RANK, n_in, generator=random_numbers) - 1) / n_in**0.5
                layer[target] = (
                    a.to(device).requires_grad_(),
                    torch.zeros(n_out, RANK, device=device).requires_grad_(),
                )
            self.pairs.append(layer)

    def parameters(self) -> list[Tensor]:
        """Everything that is trained."""
        return [t for layer in self.pairs for pair in layer.values() for t in pair]

    @property
    def size(self) -> int:
        """Trained numbers."""
        return sum(t.numel() for t in self.parameters())


@dataclass(frozen=True)
class _Factors:
    """One layer's factors as what `Layer.forward` adds to its linears."""

    pairs: dict[str, tuple[Tensor, Tensor]]

    def add(self, point: str, x: Tensor, y: Tensor) -> Tensor:
        if point not in self.pairs:
            return y
        a, b = self.pairs[point]
        return y + SCALE * (x @ a.T) @ b.T


@dataclass(frozen=True)
class _Batch:
    """tokens (B, T), padded behind; rows (M, 2): example and position of what predicts a target.

    targets: (M,) tokens, or the choices' indices; candidates: (C,) of choices, else None.
    """

    tokens: Tensor
    rows: Tensor
    targets: Tensor
    candidates: Tensor | None

    @property
    def real(self) -> int:
        """Tokens that are run, without padding."""
        return int((self.tokens >= 0).sum())


def batch_of(examples: Sequence[Encoded], device: torch.device) -> _Batch:
    """Whole sentences of some examples."""
    sentences, rows, targets = [], [], []
    for at, example in enumerate(examples):
        item = example.items[0]
        sentences.append([*item.prompt.tolist(), *item.tail.tolist()])
        for row in item.weights.nonzero()[0]:
            rows.append((at, len(item.prompt) + int(row)))
            targets.append(int(item.targets[row]) if not example.tokens else example.answer)
    tokens = torch.full((len(examples), max(map(len, sentences))), -1)
    for at, sentence in enumerate(sentences):
        tokens[at, : len(sentence)] = torch.tensor(sentence)
    choices = examples[0].tokens
    candidates = torch.tensor(choices, device=device) if choices else None
    return _Batch(
        tokens.to(device), torch.tensor(rows, device=device),
        torch.tensor(targets, device=device), candidates,
    )  # fmt: skip


def scores(decoder: Decoder, lora: Lora, batch: _Batch, checkpoints: bool = False) -> Tensor:
    """Logits (M, C or V) at the rows that predict a target."""
    tokens = batch.tokens.clamp(min=0)
    with tokens.device:
        positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
        # Padding lies behind, where causal masks already hide it.
        frames = decoder.frames(positions, positions, torch.ones_like(tokens, dtype=torch.bool))
    x = decoder.embed(tokens)
    for index, pairs in enumerate(lora.pairs):
        frame = frames[decoder.spec.frame_of(index)]
        given = x, *frame, (), _Factors(pairs)
        run = decoder.layer(index)
        x = (checkpoint(run, *given, use_reentrant=False) if checkpoints else run(*given))[0]
    asking = x[0, batch.rows[:, 0], batch.rows[:, 1]]
    if batch.candidates is None:
        return decoder.top(asking)
    return decoder.top.some(asking, batch.candidates)


def learn(
    decoder: Decoder, lora: Lora, examples: Sequence[Encoded], rate: float, steps: int, seed: int,
    checkpoints: bool = False,
) -> Iterator[int]:  # fmt: skip
    """Adam steps on shuffled batches; yields the tokens that were run forwards after each."""
    optimizer = torch.optim.Adam(lora.parameters(), lr=rate)
    order, shuffled, tokens = random.Random(seed), list[Encoded](), 0
    for _ in range(steps):
        if len(shuffled) < BATCH:
            shuffled = order.sample(examples, len(examples))
        batch = batch_of(shuffled[:BATCH], decoder.top.norm.gain.device)
        shuffled = shuffled[BATCH:]
        loss = functional.cross_entropy(scores(decoder, lora, batch, checkpoints), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tokens += batch.real
        yield tokens


@torch.no_grad()
def measure(
    decoder: Decoder, lora: Lora, examples: Sequence[Encoded], size: int = 64
) -> tuple[float, float]:
    """Loss (nats an example, or a token of its own example) and accuracy (0 without choices)."""
    by_length = sorted(examples, key=lambda e: len(e.items[0].prompt) + len(e.items[0].tail))
    losses, right = [], 0
    for start in range(0, len(by_length), size):
        batch = batch_of(by_length[start : start + size], decoder.top.norm.gain.device)
        found = scores(decoder, lora, batch)
        nats = functional.cross_entropy(found, batch.targets, reduction="none")
        at = batch.rows[:, 0]
        total = torch.zeros(len(batch.tokens), device=nats.device).index_add(0, at, nats)
        losses.append(total / at.bincount())
        right += (
            int((found.argmax(-1) == batch.targets).sum()) if batch.candidates is not None else 0
        )
    return float(torch.cat(losses).mean()), right / len(examples)
