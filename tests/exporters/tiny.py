"""Tiny seeded checkpoints of every family, as Hugging Face folders; `tiny_gguf` converts them.

    folder = make_checkpoint(tmp_path / "model", "qwen2")  # transformers can load it

The tokenizer is a byte-level BPE trained on the sentences below, in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

VOCAB_SIZE = 320  # rows of the embedding, a few more than the tokenizer has tokens
SPECIAL = ("<|bos|>", "<|eos|>", "<|pad|>")
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
CORPUS = (
    "The quiet baker opens early and sells warm bread to the whole street.",
    "Rain fell on the roof all night, and the garden was green in the morning.",
    "She wrote 12 letters in 2024 and posted the last one on day 365.",
    "He did not like the film; it was slow, long and sadly terrible.",
    "What a great story, the children laughed and asked for another one!",
)
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1000.0,
    "factor": 2.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.1, 3.8],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    "original_max_position_embeddings": 64,
}
_GEMMA = {
    "head_dim": 32,
    "sliding_window": 7,
    "query_pre_attn_scalar": 24,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 8.0},
    },
}
# name → (class in transformers, what differs from `_SHAPE`)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-untied": ("Llama", {"tie_word_embeddings": False}),
    "llama-bias": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-llama3": ("Llama", {"rope_parameters": _LLAMA3}),
    "llama-linear": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}},
    ),
    "llama-yarn": ("Llama", {"rope_parameters": _YARN}),
    "llama-yarn-mscale": (
        "Llama",
        {"rope_parameters": _YARN | {"mscale": 0.7, "mscale_all_dim": 1.2, "truncate": False}},
    ),
    "llama-longrope": ("Llama", {"rope_parameters": _LONGROPE}),
    "llama-dynamic": (
        "Llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 4.0}},
    ),
    "mistral": ("Mistral", {"sliding_window": 7, "tie_word_embeddings": False}),
    "mistral-global": ("Mistral", {"sliding_window": None, "head_dim": 32}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
    "qwen3-bias": ("Qwen3", {"head_dim": 32, "attention_bias": True}),
    "gemma3": ("Gemma3Text", _GEMMA),
    "gemma3-softcap": ("Gemma3Text", _GEMMA | {"final_logit_softcapping": 3.0}),
}


def make_checkpoint(folder: Path, family: str, seed: int = 0) -> Path:
    """Write a tiny random checkpoint of one of `FAMILIES` into `folder`, and return it."""
    model = make_model(family, seed)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def make_model(family: str, seed: int = 0) -> Any:
    """The model of transformers itself, float32, with every tensor random, norms too."""
    name, changes = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**{**_SHAPE, **changes})
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            centre = 1.0 if "norm" in key and "Gemma" not in name else 0.0
            size = 0.3 if tensor.dim() == 1 or "embed" in key else tensor.shape[1] ** -0.5
            tensor.copy_(centre + size * noise)
    return model


def write_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`."""
    train_tokenizer().save(str(folder / "tokenizer.json"))
    tokens = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL, strict=True))
    stated = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "chat_template": TEMPLATE,
        **tokens,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(stated), "utf-8")


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE of 300 tokens; its ids 0, 1, 2 are `SPECIAL`."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300,
        show_progress=False,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def load_tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    """All tensors of a folder, in float32."""
    return safetensors.numpy.load_file(folder / "model.safetensors")


def copy_of(folder: Path, to: Path) -> Path:
    """A copy of a folder, free to be changed."""
    shutil.copytree(folder, to)
    return to


def change(file: Path, changes: dict[str, Any]) -> None:
    """Replace entries of a JSON object; None takes one away."""
    content = json.loads(file.read_text("utf-8")) if file.exists() else {}
    content |= changes
    kept = {key: value for key, value in content.items() if value is not None}
    file.write_text(json.dumps(kept), "utf-8")


def rewrite(
    folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    """Put a folder's tensors through `edit`."""
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(edit(tensors), file)
