"""Base models from disk: a Hugging Face folder (safetensors) or a GGUF file."""

from dsa_edge.exporters.checkpoint._base import Checkpoint, tokenizer_info
from dsa_edge.exporters.checkpoint._open import open_checkpoint

__all__ = ["Checkpoint", "open_checkpoint", "tokenizer_info"]
