"""Examples of a fit → token ids, as `dsa_edge.encoding` makes them."""

from __future__ import annotations

from collections.abc import Sequence

from dsa_edge import encoding
from dsa_edge.encoding import Encoded, Item
from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example
from dsa_edge.manifest import Manifest
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Encoded", "Encoder", "Item", "learnable", "longest"]


class Encoder(encoding.Encoder):
    """Encodes examples for one bundle."""

    def __init__(self, tokenizer: Tokenizer, manifest: Manifest) -> None:
        limit = int(manifest.decoder["max_positions"])
        super().__init__(tokenizer, manifest.adapter.invocation, limit)


def longest(encoded: Sequence[Encoded]) -> int:
    """Tokens of the longest prompt."""
    return max(len(item.prompt) for example in encoded for item in example.items)


def learnable(examples: Sequence[Example]) -> Sequence[Example]:
    """The examples, if something can be learned from them.

    Raises ExampleError when there are none, or when all of several have the same label.
    """
    if not examples:
        raise ExampleError("there are no examples to learn from: give at least one.")
    labels = {example.response for example in examples}
    if len(examples) > 1 and len(labels) == 1 and all(example.choices for example in examples):
        raise ExampleError(
            f"all {len(examples)} examples have the label {labels.pop().strip()!r}, which teaches "
            "only a constant answer: add examples of another label."
        )
    return examples
