"""A checkpoint: spec, tokenizer and, one at a time, the tensors of a base model."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint._canonical import Shape, canonical_shapes
from dsa_edge.exporters.decoder import DecoderSpec, QuantizedWeight
from dsa_edge.manifest import TokenizerInfo

__all__ = ["Checkpoint", "TextRules", "tokenizer_info"]


@dataclass(frozen=True)
class TextRules:
    """How text becomes a token sequence, beyond what the tokenizer itself does.

    bos_id, pad_id: None where the model has no such token.
    eos_ids: every token that ends a response, the main one first; may be empty.
    add_bos: whether a sequence starts with `bos_id`.
    chat_template: Jinja source, or None for a model that does not chat.
    """

    bos_id: int | None
    eos_ids: tuple[int, ...]
    pad_id: int | None
    add_bos: bool
    chat_template: str | None


class Checkpoint(ABC):
    """A readable base model; `open_checkpoint` makes one.

    path: the folder or file; files: the weight files, in order of their names.
    source: `huggingface` or `gguf`.
    name, licence: as the checkpoint states them; licence is None where it does not.
    spec: geometry and variants of the decoder.
    bos_id, eos_ids, pad_id, add_bos, chat_template: as in `TextRules`. Encode with
        `add_special_tokens=False` and go by `add_bos`: not every `tokenizer_json` adds the BOS.
    """

    source: str

    def __init__(
        self,
        path: Path,
        files: tuple[Path, ...],
        spec: DecoderSpec,
        rules: TextRules,
        name: str,
        licence: str | None,
    ) -> None:
        self.path, self.files = path, files
        self.spec = spec
        self.name, self.licence = name, licence
        self.bos_id, self.eos_ids, self.pad_id = rules.bos_id, rules.eos_ids, rules.pad_id
        self.add_bos, self.chat_template = rules.add_bos, rules.chat_template
        self._shapes = dict(canonical_shapes(spec))
        self._check_tensors()

    def has(self, name: str) -> bool:
        """Whether the model has a tensor of this canonical name."""
        return name in self._shapes

    def weight(self, name: str) -> QuantizedWeight | NDArray[np.float32]:
        """Read one tensor from disk: the stored bits where they fit, else float32.

        Matrices are (n_out, n_in) with rows in the order of transformers; nothing is cached.
        Raises CheckpointError when the model has no such tensor or its bytes cannot be read.
        """
        if name not in self._shapes:
            raise CheckpointError(
                f"{self.path.name} has no tensor {name!r} (a {self.spec.family} model has "
                "embedding, final_norm, layers.0.q …): ask `has` first."
            )
        return self._read(name)

    @cached_property
    def sha256(self) -> str:
        """Hash of the weight files, one after another: hexadecimal."""
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    @property
    @abstractmethod
    def tokenizer_json(self) -> str:
        """The tokenizer in the format of the `tokenizers` library."""

    @abstractmethod
    def _native(self, name: str) -> str:
        """The file's own name of a canonical tensor."""

    @abstractmethod
    def _stored_shape(self, native: str) -> Shape | None:
        """Shape of a tensor as the file declares it, None when it is absent."""

    @abstractmethod
    def _read(self, name: str) -> QuantizedWeight | NDArray[np.float32]:
        """Read a tensor that is known to be there."""

    def _check_tensors(self) -> None:
        """Compare what the headers declare with the spec, before any weight is read."""
        for name, shape in self._shapes.items():
            native = self._native(name)
            stored = self._stored_shape(native)
            if stored is None:
                raise CheckpointError(
                    f"{self.path.name} lacks the tensor {native!r} {list(shape)}, which its "
                    "configuration calls for: download the checkpoint again, in full."
                )
            if stored != shape:
                raise CheckpointError(
                    f"{self.path.name}: tensor {native!r} has shape {list(stored)}, expected "
                    f"{list(shape)} from the configuration: use the configuration of this model."
                )


def tokenizer_info(source: Checkpoint, digest: str = "") -> TokenizerInfo:
    """Special tokens of a checkpoint, as a manifest has them; padding is any token there is.

    digest: sha256 of the tokenizer's file, where there is one.
    """
    pad = next((i for i in (source.pad_id, *source.eos_ids, source.bos_id) if i is not None), 0)
    return TokenizerInfo(digest, source.bos_id, source.eos_ids, pad, source.add_bos)
