"""Examples as whole sentences in tokens, and the loss of a task on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example, read_examples
from dsa_edge.exporters.training._pruning import Pruning
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Biases", "Sentence", "batches", "examples_of", "padded", "sentences"]

LENGTH = 512  # tokens of a sentence that are kept, its end: what a step may take of memory


@dataclass(frozen=True)
class Sentence:
    """Prompt and response in tokens.

    first: position of the prompt's last token, which predicts the response's first.
    choices: the choices' tokens where each is a single, distinct one, else none; the loss is then
    over them alone, as in a fit.
    """

    tokens: tuple[int, ...]
    first: int
    choices: tuple[int, ...] = ()

    @property
    def targets(self) -> tuple[int, ...]:
        """What the positions from `first` on should predict."""
        return self.tokens[self.first + 1 :]


def examples_of(pruning: Pruning, tokenizer: Tokenizer) -> list[Example]:
    """The examples of a caller, read where they are a file.

    Raises ExampleError where there are none.
    """
    given = pruning.examples
    if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__"):
        labels = pruning.labels
        if labels is not None:  # a text may hold what is a special token of this base
            from dataclasses import replace

            labels = replace(labels, plain=tokenizer.plain)
        return read_examples(given, labels, tokenizer.chat)  # type: ignore[arg-type]
    if not given:
        raise ExampleError(
            "early pruning learns what to drop, and got no examples: give some of the task, "
            "as `--prune-on FILE`."
        )
    return list(given)


def sentences(examples: Sequence[Example], tokenizer: Tokenizer) -> list[Sentence]:
    """Token ids of examples; errors name the example's number, from 1."""
    made = []
    for number, example in enumerate(examples, start=1):
        try:
            made.append(_sentence(example, tokenizer))
        except ExampleError as error:
            raise ExampleError(f"example {number}: {error}") from error
    return made


def _sentence(example: Example, tokenizer: Tokenizer) -> Sentence:
    prompt = tokenizer.encode_prompt(example.prompt) or [tokenizer.info.pad_id]
    response = tokenizer.encode(example.response)
    if not response:
        raise ExampleError(f"response {example.response!r} has no token in this vocabulary.")
    if example.ends:
        response = [*response, *tokenizer.info.eos_ids[:1]]
    answers = [tokenizer.encode(choice) for choice in example.choices]
    firsts = tuple(ids[0] for ids in answers if len(ids) == 1)
    single = len(set(firsts)) == len(answers) > 1
    response = response[:LENGTH]
    kept = prompt[-max(LENGTH - len(response), 1) :]
    return Sentence((*kept, *response), len(kept) - 1, firsts if single else ())


def batches(given: Sequence[Sentence], size: int, seed: int) -> Iterator[list[Sentence]]:
    """Shuffled batches without end; every sentence comes once before any comes again."""
    order, left = Random(seed), list[Sentence]()
    while True:
        while len(left) < size:
            left += order.sample(given, len(given))
        yield left[:size]
        left = left[size:]


def padded(batch: Sequence[Sentence]) -> Tensor:
    """Tokens (B, T) without the last one, which predicts nothing; padding lies behind, where
    causal masks hide it."""
    length = max(len(sentence.tokens) for sentence in batch) - 1
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    for row, sentence in enumerate(batch):
        tokens[row, : len(sentence.tokens) - 1] = torch.tensor(sentence.tokens[:-1])
    return tokens


class Biases:
    """Label biases of each set of choices, and the task's loss with them.

    A base prefers some labels whatever it reads. That is not the task, and masks are no remedy: the
    biases start where the first batch's mean scores are level, and are trained beside.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Tensor] = {}

    def parameters(self) -> list[Tensor]:
        """All biases so far."""
        return list(self._known.values())

    def loss(self, logits: Tensor, batch: Sequence[Sentence]) -> Tensor:
        """Mean over examples of nats a target; logits (M, V) of all target positions in turn."""
        losses, at = [], 0
        for sentence in batch:
            rows = logits[at : at + len(sentence.targets)]
            at += len(sentence.targets)
            wanted = torch.tensor(sentence.targets)
            if sentence.choices:
                rows = self._level(rows[:, list(sentence.choices)], sentence.choices, logits, batch)
                wanted = torch.tensor([sentence.choices.index(sentence.targets[0])])
                rows = rows[:1]
            losses.append(functional.cross_entropy(rows, wanted))
        return torch.stack(losses).mean()

    def _level(
        self, scores: Tensor, choices: tuple[int, ...], logits: Tensor, batch: Sequence[Sentence]
    ) -> Tensor:
        if choices not in self._known:
            firsts, at = [], 0
            for sentence in batch:
                if sentence.choices == choices:
                    firsts.append(logits[at, list(choices)].detach().log_softmax(-1))
                at += len(sentence.targets)
            self._known[choices] = (-torch.stack(firsts).mean(0)).requires_grad_()
        return scores + self._known[choices]
