"""Tokenizer and text rules of a Hugging Face folder, and the way through transformers."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from dsa_edge.errors import CheckpointError, MissingDependencyError
from dsa_edge.exporters.checkpoint._base import TextRules
from dsa_edge.exporters.checkpoint._json import read_json, reason

__all__ = ["huggingface_rules", "huggingface_tokenizer", "tokenizer_of_transformers"]

VOCABULARIES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# Gemma 3's text-only sizes share the tokenizer of the sighted ones, with this one token too many.
SIGHTED = "<image_soft_token>"


def huggingface_tokenizer(folder: Path, vocab_size: int) -> str:
    """`tokenizer.json` as it is, or the one that transformers makes of other vocabulary files.

    Raises CheckpointError when there is none, or it has more tokens than the embedding has rows.
    """
    file = folder / "tokenizer.json"
    if file.exists():
        text = _read_text(file)
    elif any((folder / name).exists() for name in VOCABULARIES):
        text = tokenizer_of_transformers(folder)
    else:
        raise CheckpointError(
            f"{folder} has no tokenizer.json (nor {', '.join(VOCABULARIES)}): put the model's "
            "tokenizer files next to config.json."
        )
    return _fit(folder, text, vocab_size)


def huggingface_rules(
    folder: Path, config: Mapping[str, Any], tokenizer_json: str, vocab_size: int
) -> TextRules:
    """Special tokens, BOS rule and chat template out of the folder's JSON files.

    config: `config.json`; the tokenizer's own statements go before it.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    stated = read_json(folder / "tokenizer_config.json", optional=True)
    generation = read_json(folder / "generation_config.json", optional=True)

    def named(key: str) -> int | None:
        token = stated.get(f"{key}_token")
        if isinstance(token, Mapping):
            token = token.get("content")
        if isinstance(token, str):
            return tokenizer.token_to_id(token)
        # A tokenizer that names no BOS on purpose overrules config.json (Qwen has one there).
        if f"{key}_token" in stated:
            return None
        # Some old files number their padding just beyond the embedding, where nothing is.
        return next((i for i in _ids(config, f"{key}_token_id") if i < vocab_size), None)

    bos = named("bos")
    endings = [named("eos"), *_ids(generation, "eos_token_id"), *_ids(config, "eos_token_id")]
    return TextRules(
        bos_id=bos,
        eos_ids=tuple(dict.fromkeys(i for i in endings if i is not None)),
        pad_id=named("pad"),
        add_bos=bos is not None and _adds_bos(stated, tokenizer, bos),
        chat_template=_chat_template(folder, stated),
    )


def tokenizer_of_transformers(folder: Path, gguf_file: str | None = None) -> str:
    """The JSON of the tokenizer that transformers builds from local files.

    Raises CheckpointError when it cannot.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise MissingDependencyError("transformers", "export", "this kind of tokenizer") from error
    extra = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        with _quiet():
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True, **extra)
        return str(made.backend_tokenizer.to_str())
    except Exception as error:  # a zoo of converters, which raise whatever they like
        raise CheckpointError(
            f"transformers cannot build the tokenizer of {gguf_file or folder} ({reason(error)}): "
            "put the model's tokenizer.json into a Hugging Face folder and export from there."
        ) from error


def _read_text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({reason(error)}): download the checkpoint again."
        ) from error


def _fit(folder: Path, text: str, vocab_size: int) -> str:
    """The tokenizer, once it is clear that every token has a row in the embedding."""
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} is not a tokenizer ({reason(error)}): download the "
            "checkpoint again."
        ) from error
    beyond = {t: i for t, i in tokenizer.get_vocab().items() if i >= vocab_size}
    if set(beyond) == {SIGHTED}:
        return _without(text, SIGHTED)
    if beyond:
        raise CheckpointError(
            f"{folder}: the tokenizer has token ids up to {max(beyond.values())}, but the "
            f"embedding has {vocab_size} rows: the tokenizer belongs to another model; use the "
            "model's own."
        )
    return text


def _without(text: str, token: str) -> str:
    content = json.loads(text)
    content["added_tokens"] = [a for a in content["added_tokens"] if a["content"] != token]
    content["model"]["vocab"].pop(token, None)
    return json.dumps(content, ensure_ascii=False)


def _ids(config: Mapping[str, Any], key: str) -> list[int]:
    """The token ids of an entry that may be absent, one number, or a list."""
    value = config.get(key)
    values = value if isinstance(value, list) else [value]
    return [i for i in values if isinstance(i, int) and i >= 0]  # old files write −1 for none


def _adds_bos(stated: Mapping[str, Any], tokenizer: Tokenizer, bos: int) -> bool:
    """The explicit switch, else what the tokenizer's post-processor does (Llama 3)."""
    switch = stated.get("add_bos_token")
    return switch if isinstance(switch, bool) else tokenizer.encode("a").ids[:1] == [bos]


def _chat_template(folder: Path, stated: Mapping[str, Any]) -> str | None:
    """From its own file, or from the tokenizer's configuration, which may hold several."""
    if (folder / "chat_template.jinja").exists():
        return _read_text(folder / "chat_template.jinja")
    template = stated.get("chat_template")
    if template is None:
        template = read_json(folder / "chat_template.json", optional=True).get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from talking: no warnings, no progress bars."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
