"""A decoder for longer prompts than its checkpoint was trained on, and groups for learning.

Position interpolation (2306.15595): positions 0 … N are squeezed into the 0 … M that the model
knows, by dividing all rotary frequencies by N / M. LongLoRA (2309.12307) does the same.
"""

from __future__ import annotations

from dataclasses import replace

from dsa_edge.errors import UsageError
from dsa_edge.exporters.decoder._spec import DecoderSpec, RopeSpec

__all__ = ["with_context", "with_group"]

MOST_FACTOR = 32  # positions so close together tell a trained model nothing any more
MOST_CONTEXT = 2**20  # tokens


def with_context(spec: DecoderSpec, context: int) -> DecoderSpec:
    """The spec for prompts and responses of up to `context` tokens together.

    Layers with a rotary embedding of their own for a window keep it: their distances stay as small
    as they were. Scaling by a constant factor is stretched; other kinds have ranges of their own.
    Raises UsageError unless the context is larger than the checkpoint's, and can be reached.
    """
    own = spec.max_positions
    if context <= own:
        raise UsageError(
            f"context is {context} tokens, expected more than the checkpoint's own {own}: leave "
            "--context out."
        )
    if context > min(MOST_FACTOR * own, MOST_CONTEXT):
        raise UsageError(
            f"context is {context} tokens, expected at most {min(MOST_FACTOR * own, MOST_CONTEXT)} "
            f"(the checkpoint has {own}): lower --context."
        )
    if spec.rope.kind not in ("default", "linear"):
        raise UsageError(
            f"the checkpoint's positions are scaled by {spec.rope.kind!r}, which linear "
            "interpolation cannot stretch: leave --context out, or export a checkpoint without it."
        )
    rope = _interpolated(spec.rope, context / own)
    return replace(spec, max_positions=context, rope=rope, interpolated_from=own)


def with_group(spec: DecoderSpec, group: int) -> DecoderSpec:
    """The spec with groups of so many tokens for attention while learning.

    Raises UsageError unless the group is even and within the context, and there are heads to share.
    """
    if group < 2 or group % 2 or group > spec.max_positions:
        raise UsageError(
            f"the attention group is {group} tokens, expected an even number from 2 to the "
            f"context's {spec.max_positions}: correct --attention-group."
        )
    if spec.n_heads < 2:
        raise UsageError(
            "an attention group needs at least 2 heads, one half of which is shifted, and this "
            "checkpoint has 1: leave --attention-group out."
        )
    return replace(spec, attention_group=group)


def _interpolated(rope: RopeSpec, stretch: float) -> RopeSpec:
    """Frequencies divided by how much longer the context is, on top of what they are divided by."""
    factor = rope.parameters["factor"] if rope.kind == "linear" else 1.0
    assert isinstance(factor, (int, float))  # of a checkpoint that was opened
    return replace(rope, kind="linear", parameters={"factor": float(factor) * stretch})
