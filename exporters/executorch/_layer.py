"""One decoder layer as an ExecuTorch program: XNNPACK for the base, our two ops for the rest.

The same program serves every layer, with any adapter and with none, and every method: the adapter's
blocks are inputs, and rows of all lanes, examples and tokens lie in one axis M = L · B · T, which
the ops tell apart by their other arguments. `runtime/_executorch_engine.py` calls it. Shapes:

    x (M, D)   cos, sin (B, T, rotated)   prefix (1, G, X, d)   keys, values (B, G, P, d) float16
    lengths (B)   route_index, route_weight (B, K)   active (B, T)
    for each target in order: core (L, N, r, r) or (L, N, r)   u (F, r, n_out)   v (F, n_in, r)
    → x (M, D), new_keys (M, G, d), new_values (M, G, d)     F is N, or 1 where blocks share factors

Kinds that are no core between factors have programs of their own for the adapted layers. Those take
the layer's slots (L, n_layer) and the frozen buffers of every point, by name, in place of the cores
and factors. Slots of zeros leave the base as it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dsa_edge.exporters.adapters import LayerBlocks
from dsa_edge.exporters.decoder import ACTIVATE, Layer, Linear
from dsa_edge.exporters.executorch._linear import GroupSums, XnnLinear, round_activations
from dsa_edge.kernels import torch_adapter
from dsa_edge.kernels.quantized_linear import GROUP
from dsa_edge.kinds import TARGETS

__all__ = ["LayerProgram", "RowNorm"]


class RowNorm(nn.Module):
    """Root-mean-square norm whose mean is a product: XNNPACK has no mean over rows."""

    gain: Tensor
    mean: Tensor

    def __init__(self, gain: Tensor, eps: float) -> None:
        super().__init__()
        self.register_buffer("gain", gain.clone())
        self.register_buffer("mean", torch.full((1, gain.shape[0]), 1 / gain.shape[0]))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (…, width)."""
        square = nn.functional.linear(x * x, self.mean)
        return x * torch.rsqrt(square + self.eps) * self.gain


class _Input(nn.Module):
    """What linears that read the same x share: its rounding, its group sums, its weak inputs."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.weak = 0 if linear.weak is None else linear.weak.shape[1]
        self.sums = GroupSums(linear.scales.shape[1] * GROUP) if linear.bits else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (rows, n_in) → what `XnnLinear` takes."""
        if self.sums is None:
            return x, x, x, x
        strong, last = (x[:, : -self.weak], x[:, -self.weak :]) if self.weak else (x, x)
        return x, round_activations(strong), self.sums(strong), last


@dataclass(frozen=True)
class _Adapter:
    """The adapter's inputs, ready to be added to the base's outputs."""

    route: tuple[Tensor, Tensor]
    active: Tensor
    blocks: tuple[Tensor, ...]  # core, u, v of every target

    def add(self, target: str, x: Tensor, base: Tensor) -> Tensor:
        """A target's output `base` (M, n_out) of x (M, n_in), plus what its blocks add."""
        if target not in TARGETS:
            return base
        first = 3 * TARGETS.index(target)
        core, u, v = self.blocks[first : first + 3]
        y: Tensor = torch_adapter.gated_lowrank(x, base, core, *self.route, u, v, self.active)
        return y


class _Slots:
    """The same for an adapter of another kind: its slots, and its frozen buffers as inputs."""

    def __init__(self, blocks: LayerBlocks, slots: Tensor, *frozen: Tensor) -> None:
        self._parameters = blocks.bind(slots)
        self._frozen = dict(zip(blocks.frozen, frozen, strict=True))

    def add(self, point: str, x: Tensor, y: Tensor) -> Tensor:
        """The value y (M, n_out) at a point, made from x (M, n_in), with what is added."""
        if point not in self._parameters:
            return y
        block, parameters = self._parameters[point]
        first = f"{point}."
        own = {k.removeprefix(first): v for k, v in self._frozen.items() if k.startswith(first)}
        added = torch.func.functional_call(block, own, (x, y, *block.split(parameters)))
        return y + added


class LayerProgram(nn.Module):
    """A layer of the base, and what any adapter adds to it.

    blocks: of an adapter whose kind has programs of its own; else the cores' and factors' is made.
    """

    def __init__(self, layer: Layer, window: int | None, blocks: LayerBlocks | None = None) -> None:
        super().__init__()
        self._blocks = [blocks]  # in a list: what is frozen is an input, no weight of the program
        self.spec, self.window = layer.spec, window or 0
        self.norms = nn.ModuleDict(
            {k: RowNorm(n.get_buffer("gain"), layer.spec.norm_eps) for k, n in layer.norms.items()}
        )
        linears = {target: cast(Linear, layer.linears[target]) for target in TARGETS}
        self.linears = nn.ModuleDict({target: XnnLinear(x) for target, x in linears.items()})
        self.inputs = nn.ModuleDict(
            {name: _Input(linears[name]) for name in ("q", "o", "gate", "down")}
        )

    @property
    def form(self) -> dict[str, Any]:
        """What decides the program besides the weights' shapes; the same at every depth."""
        none = ("n_layers", "windows", "attention_group", "interpolated_from")
        same = {**dict.fromkeys(none), "window": self.window}
        blocks = self._blocks[0]
        return {**asdict(self.spec), **same, "adapter": blocks and blocks.form}

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, prefix_keys: Tensor, prefix_values: Tensor,
        keys: Tensor, values: Tensor, lengths: Tensor, route_index: Tensor, route_weight: Tensor,
        active: Tensor, *blocks: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """See the module's docstring."""
        spec, rows = self.spec, x.shape[0]
        own = self._blocks[0]
        adapter: _Adapter | _Slots = _Adapter((route_index, route_weight), active, blocks)
        if own is not None:
            adapter = _Slots(own, *blocks)
        h = self.norms["attention"](x)
        h = adapter.add("attention_norm", h, h)
        given = self.inputs["q"](h)
        bases = {target: self.linears[target](*given) for target in ("q", "k", "v")}
        q, k, v = (adapter.add(target, h, bases[target]) for target in ("q", "k", "v"))
        q = self._normed("q", q.view(rows, spec.n_heads, spec.head_dim))
        k = self._normed("k", k.view(rows, spec.n_kv_heads, spec.head_dim))
        v = v.view(rows, spec.n_kv_heads, spec.head_dim)
        mixed, new_keys = torch_adapter.attend(
            q, k, v, cos, sin, prefix_keys, prefix_values, keys, values, lengths,
            spec.scale, spec.attention_softcap or 0.0, self.window,
        )  # fmt: skip
        mixed = self._after("attention_out", self._linear("o", mixed, adapter))
        x = x + adapter.add("attention", h, mixed) * spec.residual_scale
        h = self.norms["mlp"](x)
        h = adapter.add("mlp_norm", h, h)
        given = self.inputs["gate"](h)
        bases = {target: self.linears[target](*given) for target in ("gate", "up")}
        gate, up = (adapter.add(target, h, bases[target]) for target in ("gate", "up"))
        gated = ACTIVATE[spec.activation](gate) * up
        down = self._after("mlp_out", self._linear("down", gated, adapter))
        return x + adapter.add("mlp", h, down) * spec.residual_scale, new_keys, v

    def _linear(self, target: str, x: Tensor, adapter: _Adapter | _Slots) -> Tensor:
        return adapter.add(target, x, self.linears[target](*self.inputs[target](x)))

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return self.norms[name](x) if self.spec.qk_norm else x

    def _after(self, norm: str, x: Tensor) -> Tensor:
        return self.norms[norm](x) if self.spec.sandwich_norms else x
