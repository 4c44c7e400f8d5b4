"""Examples → token ids: the cached prompt, the rows on which the adapter acts, and the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Encoded", "Encoder", "Item"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Item:
    """One prompt and one continuation.

    prompt: (P,) tokens before the invocation, cached and free of any adapter.
    tail: (R,) the invocation, then the response without its last token.
    targets: (R,) what each tail row should predict; weights: (R,) 1 where it counts.
    """

    prompt: Ints
    tail: Ints
    targets: Ints
    weights: Floats


@dataclass(frozen=True)
class Encoded:
    """An example in tokens.

    items: one for each choice, or a single one without choices.
    answer: index of the right choice.
    tokens: the choices' tokens where each is a single, distinct one; then items[0] serves all.
    choices: the choices' texts, none for a free response.
    """

    items: tuple[Item, ...]
    answer: int
    tokens: tuple[int, ...] | None
    choices: tuple[str, ...]


class Encoder:
    """Encodes examples for one base and one adapter layout.

    invocation: last prompt tokens on which the adapter acts. limit: tokens that the base takes.
    """

    def __init__(self, tokenizer: Tokenizer, invocation: int, limit: int) -> None:
        self._tokenizer, self._invocation, self._limit = tokenizer, invocation, limit
        self._fill = tokenizer.info.pad_id

    def encode(self, example: Example) -> Encoded:
        """Token ids of one example.

        Raises ExampleError when it is longer than the base's context.
        """
        prompt = self._prompt(example.prompt)
        if not example.choices:
            item = self._item(prompt, self._response(example.response, example))
            return Encoded((item,), 0, None, ())
        answers = [self._response(choice, example) for choice in example.choices]
        answer = example.choices.index(example.response)
        firsts = tuple(ids[0] for ids in answers)
        if all(len(ids) == 1 for ids in answers) and len(set(firsts)) == len(firsts):
            item = self._item(prompt, answers[answer])
            return Encoded((item,), answer, firsts, example.choices)
        items = tuple(self._item(prompt, ids) for ids in answers)
        return Encoded(items, answer, None, example.choices)

    def encode_all(self, examples: Sequence[Example]) -> list[Encoded]:
        """Token ids of many examples; errors name the example's number, from 1."""
        encoded = []
        for number, example in enumerate(examples, start=1):
            try:
                encoded.append(self.encode(example))
            except ExampleError as error:
                raise ExampleError(f"example {number}: {error}") from error
        return encoded

    def split_prompt(self, text: str) -> tuple[Ints, Ints]:
        """A prompt's cached part (P,) and its invocation (invocation,)."""
        ids = np.array(self._prompt(text), dtype=np.int64)
        return ids[: -self._invocation], ids[-self._invocation :]

    def _prompt(self, text: str) -> list[int]:
        ids = self._tokenizer.encode_prompt(text)
        # The cached part keeps at least one token, so very short prompts are filled in front.
        missing = self._invocation + 1 - len(ids)
        return [self._fill] * max(missing, 0) + ids

    def _response(self, text: str, example: Example) -> list[int]:
        ids = self._tokenizer.encode(text)
        if not ids:
            raise ExampleError(f"response {text!r} has no token in this base's vocabulary.")
        return [*ids, *self._tokenizer.info.eos_ids[:1]] if example.ends else ids

    def _item(self, prompt: list[int], response: list[int]) -> Item:
        total = len(prompt) + len(response)
        if total > self._limit:
            raise ExampleError(
                f"{total} tokens, but this base takes at most {self._limit}: shorten the prompt."
            )
        split = len(prompt) - self._invocation
        tail = [*prompt[split:], *response[:-1]]
        targets = [0] * (self._invocation - 1) + response
        weights = np.zeros(len(tail), dtype=np.float32)
        weights[self._invocation - 1 :] = 1
        return Item(_ints(prompt[:split]), _ints(tail), _ints(targets), weights)


def _ints(ids: list[int]) -> Ints:
    return np.array(ids, dtype=np.int64)
