"""The methods of a bundle, each a chain of parts: four, and more where they are wanted.

A chain is written once and run by a *caller*: torch executes each part (the reference), the ONNX
backend emits a function call for it. `parts.py` has the parts; shapes are as in DESIGN: L lanes,
B examples, X shared prefix, P prompt, R response, T new tokens, D width, V vocabulary.

    prefill   prompt (B, P), response (B, R), lengths (B), prefix
              → hidden (B, R, D), keys and values (layers, B, kv, P, d), pooled (B, D)
    probe     hidden, prefix, keys and values of the adapted layers, lengths, lanes (L), adapter
              (L, n), targets and weights (B, R) → losses (L, B), nats summed over the targets
    choose    hidden, prefix, keys, values, lengths, lanes, adapter, candidates (C)
              → log_probs (L, B, C)
    decode    tokens (B, T), prefix, keys and values of all layers, lengths, adapter (1, n)
              → logits (B, V), new keys and values (layers, B, kv, T, d)

The adapter has a row for each lane or, where every example has one of its own, for each lane and
example: (L · B, n), one lane after the other; so rows of different users run as one batch. `lanes`
tells the two apart: its length counts the lanes, and its content is not read.

    prefill_grouped   a part of one prompt (1, P), start (1), group (1), prefix
                      → hidden (1, P, D), keys and values (layers, 1, kv, P, d), by shifted
                      sparse attention; a group that is long enough makes it full

Where the adapter has several blocks, probe, choose, decode and the pulls take the route last, index
and weight (B, K) of the blocks that serve each example.

    pull_losses    as probe, and pull (L, B) → gradient (L, n) of Σ_b pull · losses
    pull_choices   as choose, and pull (L, B, C) → gradient (L, n) of Σ_bc pull · log_probs

The prefix, keys and values (layers, 1, kv, X, d), is what all rows begin with; X may be 0.
`lengths` counts the valid tokens of each row's own prompt (or cache); the rest is padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["GRADIENTS", "GROUPED", "METHODS", "Caller", "Chains"]

METHODS = ("prefill", "probe", "choose", "decode")
GRADIENTS = ("pull_losses", "pull_choices")
GROUPED = ("prefill_grouped",)

T = TypeVar("T")


class Caller(Protocol[T]):
    """Runs parts on values of type T: tensors, or the names in a graph under construction."""

    def call(self, part: str, layer: int | None, *values: T) -> tuple[T, ...]:
        """Apply one part, with the weights of `layer` where the part belongs to one."""
        ...

    def stack(self, values: list[T]) -> T:
        """Stack float32 values along a new first axis as float16: how caches are kept."""
        ...

    def pick(self, value: T, index: int, after: T | None = None) -> T:
        """Entry `index` of the first axis; not before `after` (L, B, T, D) is there."""
        ...

    def split(self, value: T, parts: int) -> list[T]:
        """Cut axis 1 into equal parts."""
        ...

    def join(self, values: list[T], axis: int = 1) -> T:
        """Join along an axis."""
        ...

    def number(self, value: int) -> T:
        """An integer (), which parts are given as a value."""
        ...


@dataclass(frozen=True)
class Chains(Generic[T]):
    """The chains for one model.

    n_layers: depth; split: first adapted layer; invocation: last prompt tokens among the response
    rows, of which only the last one predicts a target.
    frame_of: which frame (rotary angles and mask) each layer uses.
    """

    caller: Caller[T]
    n_layers: int
    split: int
    invocation: int
    frame_of: tuple[int, ...]

    def prefill(
        self, prompt: T, response: T, lengths: T, prefix_keys: T, prefix_values: T
    ) -> dict[str, T]:
        """Run the base over prompts and, up to the split layer, over the responses."""
        call, prefix = self.caller.call, (prefix_keys, prefix_values)
        x, *frames = call("prefill_inputs", None, prompt, response, lengths, prefix_keys)
        keys, values = [], []
        for layer in range(self.split):
            cached = self._pick(layer, x, *prefix)
            x, k, v = call("layer", layer, x, *self._frame(frames, layer), *cached)
            keys.append(call("trim", None, k, prompt)[0])
            values.append(call("trim", None, v, prompt)[0])
        hidden, pooled, x, *frames = call(
            "prefill_split", None, x, prompt, lengths, prefix_keys, *frames
        )
        last = self.n_layers - 1
        for layer in range(self.split, last):
            cached = self._pick(layer, x, *prefix)
            x, k, v = call("layer", layer, x, *self._frame(frames, layer), *cached)
            keys.append(k)
            values.append(v)
        # Nothing reads what the last layer would output for the prompt.
        k, v = call("layer_keys", last, x, *self._frame(frames, last)[:2])
        stack = self.caller.stack
        return {
            "hidden": hidden,
            "keys": stack([*keys, k]),
            "values": stack([*values, v]),
            "pooled": pooled,
        }

    def prefill_grouped(
        self, prompt: T, start: T, group: T, prefix_keys: T, prefix_values: T
    ) -> dict[str, T]:
        """Run the base over a part of a prompt that follows its last tokens so far."""
        call, prefix = self.caller.call, (prefix_keys, prefix_values)
        x, *frames = call("grouped_inputs", None, prompt, start, group, prefix_keys)
        keys, values, states = [], [], [x]
        last = self.n_layers - 1
        for layer in range(last):
            cached = self._pick(layer, x, *prefix)
            x, k, v = call("layer_grouped", layer, x, *self._frame(frames, layer), *cached)
            keys.append(k)
            values.append(v)
            states.append(x)
        k, v = call("layer_keys", last, x, *self._frame(frames, last)[:2])
        stack = self.caller.stack
        return {
            "hidden": self.caller.pick(states[self.split], 0),
            "keys": stack([*keys, k]),
            "values": stack([*values, v]),
        }

    def probe(
        self,
        hidden: T,
        prefix_keys: T,
        prefix_values: T,
        keys: T,
        values: T,
        lengths: T,
        lanes: T,
        adapter: T,
        targets: T,
        weights: T,
        *route: T,
    ) -> dict[str, T]:
        """Loss of every lane on every example."""
        caches = prefix_keys, prefix_values, keys, values
        x = self._adapted(hidden, lengths, (lanes, adapter), route, *caches)
        return {"losses": self.caller.call("loss_head", None, x, targets, weights)[0]}

    def choose(
        self,
        hidden: T,
        prefix_keys: T,
        prefix_values: T,
        keys: T,
        values: T,
        lengths: T,
        lanes: T,
        adapter: T,
        candidates: T,
        *route: T,
    ) -> dict[str, T]:
        """Log-probabilities of the candidates at the last position."""
        caches = prefix_keys, prefix_values, keys, values
        x = self._adapted(hidden, lengths, (lanes, adapter), route, *caches)
        return {"log_probs": self.caller.call("choice_head", None, x, candidates)[0]}

    def pull_losses(
        self,
        hidden: T,
        prefix_keys: T,
        prefix_values: T,
        keys: T,
        values: T,
        lengths: T,
        lanes: T,
        adapter: T,
        targets: T,
        weights: T,
        pull: T,
        *route: T,
    ) -> dict[str, T]:
        """The gradient of the losses' weighted sum."""
        caches = prefix_keys, prefix_values, keys, values
        given = targets, weights, pull
        adapted = lanes, adapter
        return self._gradient("loss_back", hidden, lengths, adapted, route, caches, given)

    def pull_choices(
        self,
        hidden: T,
        prefix_keys: T,
        prefix_values: T,
        keys: T,
        values: T,
        lengths: T,
        lanes: T,
        adapter: T,
        candidates: T,
        pull: T,
        *route: T,
    ) -> dict[str, T]:
        """The gradient of the candidates' weighted log-probabilities."""
        caches = prefix_keys, prefix_values, keys, values
        given = candidates, pull
        adapted = lanes, adapter
        return self._gradient("choice_back", hidden, lengths, adapted, route, caches, given)

    def decode(
        self,
        tokens: T,
        prefix_keys: T,
        prefix_values: T,
        keys: T,
        values: T,
        lengths: T,
        adapter: T,
        *route: T,
    ) -> dict[str, T]:
        """Next-token logits after T new tokens on top of a cache of all layers."""
        call, join = self.caller.call, self.caller.join
        x, *rest = call("decode_inputs", None, tokens, lengths, prefix_keys)
        (*only, active), angles = rest[:3], rest[3:]
        slots = self.caller.split(adapter, self.n_layers - self.split)
        new_keys, new_values = [], []
        for layer in range(self.n_layers):
            frame, at = 2 * self.frame_of[layer], self.caller.number(layer)
            caches = prefix_keys, prefix_values, keys, values, lengths, at
            given = x, *angles[frame : frame + 2], *caches
            if layer < self.split:
                x, k, v = call("decode_layer", layer, *given)
            else:
                own = slots[layer - self.split]
                x, k, v = call("decode_layer_adapted", layer, *given, own, *(route or only), active)
            new_keys.append(k)
            new_values.append(v)
        logits = call("token_head", None, x)[0]
        return {
            "logits": logits, "new_keys": join(new_keys, 0), "new_values": join(new_values, 0)
        }  # fmt: skip

    def _gradient(
        self,
        head: str,
        hidden: T,
        lengths: T,
        adapted: tuple[T, T],
        route: tuple[T, ...],
        caches: tuple[T, ...],
        given: tuple[T, ...],
    ) -> dict[str, T]:
        """Forwards through the adapted layers, and back from the head."""
        call, depth = self.caller.call, self.n_layers - self.split
        lanes, adapter = adapted
        x, *frames = call("response_inputs", None, hidden, lengths, caches[0], caches[2], lanes)
        slots = self.caller.split(adapter, depth)
        steps = []
        for index in range(depth):
            frame = self._frame(frames, self.split + index)
            steps.append((x, *frame, *self._pick(index, x, *caches), slots[index], *route))
            x = call("layer_adapted", self.split + index, *steps[-1])[0]
        (back,) = call(head, None, x, *given)
        changes: list[T] = []
        for index in reversed(range(depth)):
            back, change = call("layer_back", self.split + index, *steps[index], back)
            changes.insert(0, change)
        return {"gradient": self.caller.join(changes)}

    def _adapted(
        self, hidden: T, lengths: T, adapted: tuple[T, T], route: tuple[T, ...], *caches: T
    ) -> T:
        """The adapted layers over the response rows; caches start at the split layer."""
        call, depth = self.caller.call, self.n_layers - self.split
        prefix_keys, _, keys, _ = caches
        lanes, adapter = adapted
        x, *frames = call("response_inputs", None, hidden, lengths, prefix_keys, keys, lanes)
        slots = self.caller.split(adapter, depth)
        last = self.n_layers - 1
        for layer in range(self.split, last):
            index = layer - self.split
            given = x, *self._frame(frames, layer), *self._pick(index, x, *caches)
            x = call("layer_adapted", layer, *given, slots[index], *route)[0]
        frame = self._frame(frames, last)
        rest = *self._pick(depth - 1, x, *caches), slots[-1], *route
        if self.invocation == 1:  # every row predicts a target
            return call("layer_adapted", last, x, *frame, *rest)[0]
        *asking, mask = call("asking", None, x, *frame)
        return call("layer_last", last, x, *frame[:2], *asking, mask, *rest)[0]

    def _pick(self, index: int, x: T, *caches: T) -> tuple[T, ...]:
        """A layer's part of caches of all, copied once the layer's own input is there: an engine
        would otherwise copy those of all layers first (277 of 297 MB at 8,000 tokens).
        """
        return tuple(self.caller.pick(cache, index, x) for cache in caches)

    def _frame(self, frames: list[T], layer: int) -> list[T]:
        start = 3 * self.frame_of[layer]
        return frames[start : start + 3]
