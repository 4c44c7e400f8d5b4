"""Whole sentences through a PEFT model: what first order and MeZO run, in torch.

The same weights as ours, de-quantized by transformers; the same tokens, from the task's file.
Only rows that predict a target go through the head, and of choices only their columns.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _contract import Job, Row, read_task
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.utils import logging

__all__ = ["BATCH", "Sentences", "batches", "load"]

BATCH = 16
JUDGED = 4096  # tokens, padding included, that are judged at once


@dataclass(frozen=True)
class Batch:
    """tokens (B, T), padded behind, where causal masks hide it; rows (M, 2) that predict targets.

    targets: (M,) tokens, or of choices the answers' indices. candidates: (C,), or None.
    """

    tokens: Tensor
    rows: Tensor
    targets: Tensor
    candidates: Tensor | None
    real: int

    @classmethod
    def of(cls, examples: Sequence[Row]) -> Batch:
        """Of some examples."""
        sentences = [[*row.prompt, *row.response[:-1]] for row in examples]
        tokens = torch.zeros(len(examples), max(map(len, sentences)), dtype=torch.long)
        for at, sentence in enumerate(sentences):
            tokens[at, : len(sentence)] = torch.tensor(sentence)
        rows = [
            (at, len(row.prompt) - 1 + place)
            for at, row in enumerate(examples) for place in range(len(row.response))
        ]  # fmt: skip
        chosen = examples[0].candidates
        targets = [[row.answer] if chosen else row.response for row in examples]
        return cls(
            tokens, torch.tensor(rows), torch.tensor([t for ts in targets for t in ts]),
            torch.tensor(chosen) if chosen else None, sum(map(len, sentences)),
        )  # fmt: skip


class Sentences:
    """A PEFT model on one task."""

    def __init__(self, job: Job, rank: int, alpha: int, attention: str = "sdpa") -> None:
        torch.set_num_threads(job.threads)
        torch.manual_seed(job.seed)
        self.learn, self.held = read_task(job.task)
        dtype = getattr(torch, job.settings.get("dtype", "float32"))
        self.model = load(job.model, dtype, rank, alpha, attention)
        self.decoder = self.model.get_base_model()
        self.trained: dict[str, torch.nn.Parameter] = {
            name: p for name, p in self.model.named_parameters() if p.requires_grad
        }
        self.size = sum(p.numel() for p in self.trained.values())

    def losses(self, batch: Batch) -> Tensor:
        """Nats (M,) of each target."""
        return functional.cross_entropy(self.scores(batch), batch.targets, reduction="none")

    def scores(self, batch: Batch) -> Tensor:
        """Logits (M, C or V) in float32."""
        hidden = self.decoder.model(input_ids=batch.tokens, use_cache=False).last_hidden_state
        asking = hidden[batch.rows[:, 0], batch.rows[:, 1]]
        head = self.decoder.lm_head.weight
        columns = head if batch.candidates is None else head[batch.candidates]
        return (asking @ columns.T).float()

    @torch.no_grad()
    def measure(self) -> tuple[float, float | None]:
        """(nats an example, accuracy); without choices (nats a token of each, then mean; None).

        In bfloat16 where the processor has it: that is four times as fast, and no part of learning.
        """
        was = self.model.training
        self.model.eval()
        fast = torch.cpu._is_avx512_bf16_supported()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            nats, right = self._judged()
        self.model.train(was)
        count = len(self.held)
        return nats / count, right / count if self.held[0].candidates else None

    def _judged(self) -> tuple[float, int]:
        """Nats of all held-out examples, and how many are right."""
        nats, right = 0.0, 0
        for part in in_parts(self.held):
            batch = Batch.of(part)
            scores = self.scores(batch)
            found = functional.cross_entropy(scores, batch.targets, reduction="none")
            at = batch.rows[:, 0]
            sums = torch.zeros(len(part)).index_add(0, at, found)
            nats += float((sums / at.bincount()).sum())
            right += int((scores.argmax(-1) == batch.targets).sum())
        return nats, right

    def snapshot(self) -> dict[str, Tensor]:
        """What is trained, copied."""
        return {name: p.detach().clone() for name, p in self.trained.items()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Back to a snapshot."""
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(snapshot[name])

    def user_bytes(self) -> int:
        """Of the adapter as PEFT saves it."""
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder, save_embedding_layers=False)
            return sum(f.stat().st_size for f in Path(folder).glob("adapter_*"))


def load(path: str, dtype: torch.dtype, rank: int, alpha: int, attention: str) -> Any:
    """A model from a GGUF file or a Hugging Face folder, with LoRA on q and v of all layers."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    file = Path(path)
    folder, name = (file, None) if file.is_dir() else (file.parent, file.name)
    base = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=dtype, attn_implementation=attention
    )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["q_proj", "v_proj"])
    return get_peft_model(base, config, autocast_adapter_dtype=False)


def batches(examples: Sequence[Row], size: int, seed: int) -> Iterator[Batch]:
    """Shuffled batches without end; what is left of an epoch is dropped."""
    order, shuffled = random.Random(seed), list[Row]()
    size = min(size, len(examples))
    while True:
        if len(shuffled) < size:
            shuffled = order.sample(examples, len(examples))
        yield Batch.of(shuffled[:size])
        shuffled = shuffled[size:]


def in_parts(examples: Sequence[Row]) -> Iterator[list[Row]]:
    """Examples of like length together, as many as are judged at once."""
    part: list[Row] = []
    for row in sorted(examples, key=lambda row: len(row.prompt) + len(row.response)):
        longest = len(row.prompt) + len(row.response)
        if part and (len(part) + 1) * longest > JUDGED:
            yield part
            part = []
        part.append(row)
    yield part
