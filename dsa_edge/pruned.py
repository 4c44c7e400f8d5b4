"""What was pruned from a bundle's base, so that a bundle can tell, and adapters can be mapped.

Whole KV groups (a key-value head with the query heads that share it) and blocks of `BLOCK`
feed-forward neurons are left out, as many in every layer, but not the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsa_edge.kinds import POINTS

__all__ = ["BLOCK", "Pruned", "differs", "told"]

BLOCK = 32  # neurons: a group of the quantizer along the inputs of `down`
WHOLE = "a base that is not pruned"

Kept = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Pruned:
    """The keep-index manifest of a pruned base.

    share: of the layers' weights that are gone. by: how units were ranked.
    n_kv_heads, ffn_width: of the base before. kv_groups, ffn_blocks: indices kept, a tuple a layer.
    targets: the adapter's before, where some were dropped. directions: slot (`layers.15.q`) → which
    of the leading singular directions of the weight before are kept, where some were dropped.
    """

    share: float
    by: str
    n_kv_heads: int
    ffn_width: int
    kv_groups: Kept
    ffn_blocks: Kept
    targets: tuple[str, ...] = ()
    directions: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        """What adapters are told apart by, and people read."""
        groups, blocks = len(self.kv_groups[0]), len(self.ffn_blocks[0])
        return (
            f"a base pruned by {self.share:.1%} ({groups} of {self.n_kv_heads} KV groups and "
            f"{blocks * BLOCK} of {self.ffn_width} neurons a layer, by {self.by})"
        )

    @classmethod
    def read(cls, entry: Any, decoder: Mapping[str, Any]) -> Pruned | None:
        """Of a manifest's entry; raises ValueError where it contradicts the decoder."""
        if entry is None:
            return None
        n_layers, width = int(decoder["n_layers"]), int(decoder["ffn_width"])
        made = cls(
            share=float(entry["share"]),
            by=str(entry["by"]),
            n_kv_heads=_whole(entry["n_kv_heads"]),
            ffn_width=_whole(entry["ffn_width"]),
            kv_groups=_kept(entry["kv_groups"], entry["n_kv_heads"]),
            ffn_blocks=_kept(entry["ffn_blocks"], entry["ffn_width"] // BLOCK),
            targets=tuple(point for point in entry["targets"] if _is_point(point)),
            directions={str(name): _indices(kept) for name, kept in entry["directions"].items()},
        )
        if not 0 <= made.share < 1:
            raise ValueError(f"share pruned is {made.share}")
        sizes = {len(groups) for groups in made.kv_groups}, {len(b) for b in made.ffn_blocks}
        if sizes != ({int(decoder["n_kv_heads"])}, {width // BLOCK}) or width % BLOCK:
            raise ValueError("kept heads or neurons do not make the decoder's")
        if {len(made.kv_groups), len(made.ffn_blocks)} != {n_layers}:
            raise ValueError(f"kept heads and neurons of {len(made.kv_groups)} layers")
        return made


def told(pruned: Pruned | None) -> str:
    """A base in words, as adapter files have it; those of whole bases say nothing."""
    return WHOLE if pruned is None else str(pruned)


def differs(theirs: object, ours: Pruned | None) -> str | None:
    """How the base that an adapter file speaks of differs from a bundle's; None if it does not."""
    got, expected = str(theirs or WHOLE), told(ours)
    return None if got == expected else f"was trained on {got}, this bundle has {expected}"


def _is_point(name: Any) -> bool:
    if name not in POINTS:
        raise ValueError(f"a target is {name!r}")
    return True


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError(f"a size before pruning is {value!r}")
    return value


def _kept(entry: Sequence[Any], most: int) -> Kept:
    kept = tuple(_indices(layer) for layer in entry)
    if any(layer[-1] >= most for layer in kept):
        raise ValueError(f"an index kept is not below {most}")
    return kept


def _indices(entry: Sequence[Any]) -> tuple[int, ...]:
    """Indices in rising order, at least one."""
    if any(type(index) is not int or index < 0 for index in entry):
        raise ValueError(f"indices kept are {str(entry)[:40]}")
    if not entry or list(entry) != sorted(set(entry)):
        raise ValueError(f"indices kept are not in order: {str(entry)[:40]}")
    return tuple(entry)
