"""What a decoder looks like: plain numbers and switches, no weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dsa_edge.errors import CheckpointError
from dsa_edge.kinds import Geometry

__all__ = ["DecoderSpec", "RopeSpec"]

ACTIVATIONS = ("silu", "gelu", "gelu_tanh")
ROPE_KINDS = ("default", "linear", "llama3", "yarn", "longrope")


@dataclass(frozen=True)
class RopeSpec:
    """Rotary position embedding.

    theta: base of the geometric frequencies.
    kind: scaling variant, one of `ROPE_KINDS`.
    parameters: the variant's own numbers under their Hugging Face names (`factor`,
        `low_freq_factor`, `original_max_position_embeddings`, `short_factor` …).
    fraction: share of the head that is rotated (`partial_rotary_factor`).
    """

    theta: float = 10_000.0
    kind: str = "default"
    parameters: dict[str, float | list[float]] = field(default_factory=dict)
    fraction: float = 1.0

    def __post_init__(self) -> None:
        """Refuse scaling variants that the decoder does not compute."""
        if self.kind not in ROPE_KINDS:
            raise CheckpointError(
                f"rotary scaling {self.kind!r} is not supported (supported: "
                f"{', '.join(ROPE_KINDS)}): export another checkpoint of this model."
            )


@dataclass(frozen=True)
class DecoderSpec:
    """Geometry and variants of one decoder-only transformer.

    n_heads queries share n_kv_heads keys and values (grouped-query attention).
    windows: per layer, how many tokens back it attends, or None for all of them.
    local_rope: rotary embedding of the layers with a window; None means the common one.
    sandwich_norms: norms after attention and after the feed-forward as well (Gemma 2, 3).
    attention_scale: factor on q·k, by default head_dim ** -0.5.
    interpolated_from: the checkpoint's own context, where positions were squeezed into it.
    attention_group: tokens of a group of shifted sparse attention while learning; None for none.
    """

    family: str
    n_layers: int
    width: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn_width: int
    vocab_size: int
    max_positions: int
    norm_eps: float = 1e-6
    activation: str = "silu"
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    sandwich_norms: bool = False
    tied: bool = True
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    attention_softcap: float | None = None
    attention_scale: float | None = None
    rope: RopeSpec = field(default_factory=RopeSpec)
    local_rope: RopeSpec | None = None
    windows: tuple[int | None, ...] = ()
    attention_group: int | None = None
    interpolated_from: int | None = None

    def __post_init__(self) -> None:
        """Refuse contradictions between the numbers."""
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(
                f"activation {self.activation!r} is not supported (supported: "
                f"{', '.join(ACTIVATIONS)}): export another model."
            )
        if self.n_heads % self.n_kv_heads:
            raise CheckpointError(
                f"{self.n_heads} query heads cannot share {self.n_kv_heads} key heads evenly: "
                "check the checkpoint's configuration."
            )
        if self.head_dim % 2:
            raise CheckpointError(
                f"heads are {self.head_dim} wide, expected an even number (rotary embedding turns "
                "pairs): check the checkpoint's configuration."
            )
        if self.windows and len(self.windows) != self.n_layers:
            raise CheckpointError(
                f"{len(self.windows)} attention windows were given for {self.n_layers} layers: "
                "check the checkpoint's configuration."
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderSpec:
        """The spec that `dataclasses.asdict` turned into plain values."""
        local = values["local_rope"]
        return cls(
            **{
                **values,
                "rope": RopeSpec(**values["rope"]),
                "local_rope": None if local is None else RopeSpec(**local),
                "windows": tuple(values["windows"]),
            }
        )

    @property
    def scale(self) -> float:
        """Factor on q·k before the softmax."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale

    @property
    def frames(self) -> tuple[tuple[RopeSpec, int | None], ...]:
        """The distinct (rotary embedding, window) pairs in use, in order of appearance."""
        seen: list[tuple[RopeSpec, int | None]] = []
        for layer in range(self.n_layers):
            if self._frame(layer) not in seen:  # specs hold dicts, so they cannot be hashed
                seen.append(self._frame(layer))
        return tuple(seen)

    def frame_of(self, layer: int) -> int:
        """Index into `frames` of one layer."""
        return self.frames.index(self._frame(layer))

    def _frame(self, layer: int) -> tuple[RopeSpec, int | None]:
        window = self.windows[layer] if self.windows else None
        local = window is not None and self.local_rope is not None
        return (self.local_rope if local and self.local_rope else self.rope, window)

    @property
    def geometry(self) -> Geometry:
        """The sizes that an adapter depends on."""
        return Geometry.of(vars(self))

    def target_shape(self, target: str) -> tuple[int, int]:
        """(n_out, n_in) of one of a layer's linears: q k v o gate up down."""
        return self.geometry.shape(target)
