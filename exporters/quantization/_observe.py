"""The calibration texts on their way through the layers, and what each linear reads of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dsa_edge.exporters.decoder import Embedding, Frames, Layer, WeightSource, build_table

__all__ = ["INPUT_OF", "Moments", "Stream"]

BATCH = 8  # rows that run at once
# Linears that read the same input share what is known of it, under the first one's name.
INPUT_OF = {
    "q": "q", "k": "q", "v": "q", "o": "o", "gate": "gate", "up": "gate", "down": "down",
}  # fmt: skip

Watch = Callable[[str, Tensor], None]


class Stream:
    """Hidden states x (rows, T, width) of the texts below some layer."""

    def __init__(self, source: WeightSource, rows: Tensor) -> None:
        self._spec = source.spec
        table = Embedding(build_table(source, "embedding"))
        self._x = table(rows) * self._spec.embedding_scale
        positions = torch.arange(rows.shape[1])[None]
        seen = torch.ones_like(positions, dtype=torch.bool)
        self._frames = Frames(self._spec)(positions, positions, seen)

    @torch.no_grad()
    def watch(self, index: int, layer: Layer, watch: Watch) -> None:
        """Run a layer without moving on; `watch` is given each input's name and (n, n_in)."""
        hooks = [
            layer.linears[name].register_forward_pre_hook(_telling(name, watch))
            for name in set(INPUT_OF.values())
        ]
        try:
            for x in self._x.split(BATCH):
                self._run(index, layer, x)
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def advance(self, index: int, layer: Layer) -> None:
        """Move on past a layer."""
        for x in self._x.split(BATCH):
            x.copy_(self._run(index, layer, x))

    def _run(self, index: int, layer: Layer, x: Tensor) -> Tensor:
        cos, sin, mask = self._frames[self._spec.frame_of(index)]
        frame = (part.expand(len(x), -1, -1) for part in (cos, sin, mask))
        moved: Tensor = layer(x[None], *frame)[0][0]
        return moved


class Moments:
    """H = 2 X Xᵀ / n of each input, float64; of weak columns' search the diagonal alone."""

    def __init__(self, diagonal: bool = False) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count: dict[str, int] = {}
        self._diagonal = diagonal

    def __call__(self, name: str, x: Tensor) -> None:
        """Take in x (n, n_in) of one input."""
        sums = x.double().square().sum(0) if self._diagonal else (x.T @ x).double()
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums
        self._count[name] = self._count.get(name, 0) + len(x)

    def of(self, target: str) -> Tensor:
        """Of a linear's input: (n_in, n_in), or (n_in,)."""
        name = INPUT_OF[target]
        return 2 * self._sums[name] / self._count[name]


def _telling(name: str, watch: Watch) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
        watch(name, given[0].flatten(0, -2))

    return hook
