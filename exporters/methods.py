"""The four methods of a bundle, each a chain of parts.

A chain is written once and run by a *caller*: torch executes each part (the reference), the ONNX
backend emits a function call for it. `parts.py` has the parts; shapes are as in DESIGN:
L lanes, B examples, P prompt length, R response length, T new tokens, D width, V vocabulary.

| method  | inputs                                             | outputs                            |
| prefill | prompt (B, P), response (B, R), lengths (B)        | hidden (B, R, D), keys, values     |
|         |                                                    | (layers, B, kv, P, d), pooled (B, D) |
| probe   | hidden, keys, values of the adapted layers,        | losses (L, B), nats summed over    |
|         | lengths, adapter (L, n), targets, weights (B, R)   | the targets                        |
| choose  | hidden, keys, values, lengths, adapter, candidates | log_probs (L, B, C)                |
| decode  | tokens (B, T), keys, values of all layers,         | logits (B, V), new_keys,           |
|         | lengths, adapter (1, n)                            | new_values (layers, B, kv, T, d)   |

`lengths` counts the valid tokens of each row's prompt (or cache); the rest is padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["METHODS", "Caller", "Chains"]

T = TypeVar("T")


class Caller(Protocol[T]):
    """Runs parts on values of type T: tensors, or the names in a graph under construction."""

    def call(self, part: str, layer: int | None, *values: T) -> tuple[T, ...]:
        """Apply one part, with the weights of `layer` where the part belongs to one."""
        ...

    def stack(self, values: list[T]) -> T:
        """Stack float32 values along a new first axis as float16: how caches are kept."""
        ...

    def pick(self, value: T, index: int) -> T:
        """Entry `index` of the first axis."""
        ...

    def split(self, value: T, parts: int) -> list[T]:
        """Cut axis 1 into equal parts."""
        ...


@dataclass(frozen=True)
class Chains(Generic[T]):
    """The chains for one model.

    n_layers: depth; split: first adapted layer; frame_of: which frame (rotary angles and mask)
    each layer uses, out of `n_frames`.
    """

    caller: Caller[T]
    n_layers: int
    split: int
    frame_of: tuple[int, ...]
    n_frames: int

    def prefill(self, prompt: T, response: T, lengths: T) -> dict[str, T]:
        """Run the base over prompts and, up to the split layer, over the responses."""
        call = self.caller.call
        x, *frames = call("prefill_inputs", None, prompt, response, lengths)
        keys, values = [], []
        for layer in range(self.split):
            x, k, v = call("layer", layer, x, *self._frame(frames, layer))
            keys.append(k)
            values.append(v)
        hidden, pooled, x, *frames = call("prefill_split", None, x, prompt, lengths, *frames)
        for layer in range(self.split, self.n_layers - 1):
            x, k, v = call("layer", layer, x, *self._frame(frames, layer))
            keys.append(k)
            values.append(v)
        # Nothing reads what the last layer would output for the prompt.
        k, v = call("layer_keys", self.n_layers - 1, x, *self._frame(frames, self.n_layers - 1)[:2])
        trimmed = [
            call("trim", None, c, prompt)[0] for c in (*keys[: self.split], *values[: self.split])
        ]
        keys = [*trimmed[: self.split], *keys[self.split :], k]
        values = [*trimmed[self.split :], *values[self.split :], v]
        stack = self.caller.stack
        return {"hidden": hidden, "keys": stack(keys), "values": stack(values), "pooled": pooled}

    def probe(
        self, hidden: T, keys: T, values: T, lengths: T, adapter: T, targets: T, weights: T
    ) -> dict[str, T]:
        """Loss of every lane on every example."""
        x = self._adapted(hidden, keys, values, lengths, adapter)
        return {"losses": self.caller.call("loss_head", None, x, targets, weights)[0]}

    def choose(
        self, hidden: T, keys: T, values: T, lengths: T, adapter: T, candidates: T
    ) -> dict[str, T]:
        """Log-probabilities of the candidates at the last position."""
        x = self._adapted(hidden, keys, values, lengths, adapter)
        return {"log_probs": self.caller.call("choice_head", None, x, candidates)[0]}

    def decode(self, tokens: T, keys: T, values: T, lengths: T, adapter: T) -> dict[str, T]:
        """Next-token logits after T new tokens on top of a cache of all layers."""
        call, pick = self.caller.call, self.caller.pick
        x, *frames = call("decode_inputs", None, tokens, lengths, keys)
        slots = self.caller.split(adapter, self.n_layers - self.split)
        new_keys, new_values = [], []
        for layer in range(self.n_layers):
            cache = pick(keys, layer), pick(values, layer)
            frame = self._frame(frames, layer)
            if layer < self.split:
                x, k, v = call("layer_cached", layer, x, *frame, *cache)
            else:
                slot = slots[layer - self.split]
                x, k, v = call("layer_adapted", layer, x, *frame, *cache, slot)
            new_keys.append(k)
            new_values.append(v)
        logits = call("token_head", None, x)[0]
        stack = self.caller.stack
        return {"logits": logits, "new_keys": stack(new_keys), "new_values": stack(new_values)}

    def _adapted(self, hidden: T, keys: T, values: T, lengths: T, adapter: T) -> T:
        call, pick = self.caller.call, self.caller.pick
        x, *frames = call("response_inputs", None, hidden, lengths, keys, adapter)
        slots = self.caller.split(adapter, self.n_layers - self.split)
        for index, slot in enumerate(slots[:-1]):
            frame = self._frame(frames, self.split + index)
            cache = pick(keys, index), pick(values, index)
            x = call("layer_adapted", self.split + index, x, *frame, *cache, slot)[0]
        last = self.n_layers - 1
        frame, cache = (
            self._frame(frames, last),
            (pick(keys, len(slots) - 1), pick(values, len(slots) - 1)),
        )
        *asking, mask = call("asking", None, x, *frame)
        return call("layer_last", last, x, *frame[:2], *asking, mask, *cache, slots[-1])[0]

    def _frame(self, frames: list[T], layer: int) -> list[T]:
        start = 3 * self.frame_of[layer]
        return frames[start : start + 3]


METHODS = ("prefill", "probe", "choose", "decode")
