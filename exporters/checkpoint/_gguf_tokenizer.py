"""GGUF metadata → tokenizer and text rules.

Byte-level vocabularies (`tokenizer.ggml.model` = gpt2: SmolLM2, Llama 3, Qwen) are rebuilt here:
transformers does not know every `tokenizer.ggml.pre`, and without its split rule SmolLM2's spaces
and newlines before digits would become other tokens. SentencePiece ones (`llama`: Llama 2, Mistral,
Gemma), which list no merges, go through transformers.
"""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, processors
from tokenizers import pre_tokenizers as pre
from tokenizers.models import BPE

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint._base import TextRules
from dsa_edge.exporters.checkpoint._gguf_file import GgufFile
from dsa_edge.exporters.checkpoint._json import reason
from dsa_edge.exporters.checkpoint._tokenizer import tokenizer_of_transformers

__all__ = ["gguf_rules", "gguf_tokenizer"]

CONTROL, USER_DEFINED = 3, 4  # token types
# Names that end a response, whatever the file states as its eos: chat models often state only one.
ENDINGS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
)

_DIGITS = ("smollm", "starcoder", "refact", "command-r", "exaone", "codeshell")
_PLAIN = (None, "default", "gpt-2", "gpt2", "olmo", "phi-2", "mpt")
_LLAMA3 = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "smaug-bpe", "dbrx")
_QWEN2 = ("qwen2", "deepseek-r1-qwen", "megrez", "hunyuan", "stablelm2")

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
)
_TEKKEN_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def gguf_tokenizer(file: GgufFile) -> str:
    """The file's tokenizer as the JSON of the `tokenizers` library.

    Raises CheckpointError when the metadata does not describe one that is known.
    """
    if file.metadata["tokenizer.ggml.model"] == "llama":
        return tokenizer_of_transformers(file.path.parent, file.path.name)
    return _byte_level(file).to_str()


def gguf_rules(file: GgufFile, vocab_size: int) -> TextRules:
    """Special tokens, BOS rule and chat template; refuses a tokenizer of another model."""
    tokens = _tokens(file, vocab_size)
    if file.metadata["tokenizer.ggml.model"] == "gpt2":
        _split_rule(file)  # an unknown rule shall fail now, not when the weights are done
    template = file.metadata.get("tokenizer.chat_template")
    return TextRules(
        bos_id=_token_id(file, "bos", len(tokens)),
        eos_ids=_endings(file, tokens),
        pad_id=_token_id(file, "padding", len(tokens)),
        add_bos=_add_bos(file) and _token_id(file, "bos", len(tokens)) is not None,
        chat_template=template if isinstance(template, str) else None,
    )


def _tokens(file: GgufFile, vocab_size: int) -> list[str]:
    kind, tokens = (file.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "tokens"))
    if kind not in ("gpt2", "llama"):
        raise CheckpointError(
            f"{file.path.name} has the tokenizer model {kind!r}, expected 'gpt2' or 'llama': "
            "export from the model's Hugging Face folder instead."
        )
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
        raise CheckpointError(
            f"{file.path.name} holds no vocabulary (tokenizer.ggml.tokens): convert the model "
            "again together with its tokenizer."
        )
    if len(tokens) > vocab_size:
        raise CheckpointError(
            f"{file.path.name} has a tokenizer of {len(tokens)} tokens, but its embedding has "
            f"{vocab_size} rows: the tokenizer belongs to another model; convert it again."
        )
    return tokens


def _token_id(file: GgufFile, name: str, n_tokens: int) -> int | None:
    value = file.metadata.get(f"tokenizer.ggml.{name}_token_id")
    return value if isinstance(value, int) and 0 <= value < n_tokens else None


def _endings(file: GgufFile, tokens: list[str]) -> tuple[int, ...]:
    stated = [_token_id(file, name, len(tokens)) for name in ("eos", "eot", "eom")]
    types = _token_types(file, tokens)
    named = [i for i, t in enumerate(tokens) if types[i] == CONTROL and t in ENDINGS]
    return tuple(dict.fromkeys(i for i in [*stated, *named] if i is not None))


def _token_types(file: GgufFile, tokens: list[str]) -> list[int]:
    types = file.metadata.get("tokenizer.ggml.token_type")
    if types is None:
        return [1] * len(tokens)
    if not isinstance(types, list) or len(types) != len(tokens):
        raise CheckpointError(
            f"{file.path.name} has {len(tokens)} tokens but not as many token types: the file is "
            "damaged, download it again."
        )
    return types


def _add_bos(file: GgufFile) -> bool:
    """What the file says; else llama.cpp's defaults for its kind of tokenizer."""
    stated = file.metadata.get("tokenizer.ggml.add_bos_token")
    if isinstance(stated, bool):
        return stated
    if file.metadata["tokenizer.ggml.model"] == "llama":
        return True
    return file.metadata.get("tokenizer.ggml.pre") in (*_LLAMA3, "tekken")


def _byte_level(file: GgufFile) -> Tokenizer:
    """A byte-level BPE with the split rule that the file names."""
    tokens: list[str] = file.metadata["tokenizer.ggml.tokens"]
    splits, whole_words, normal_form = _split_rule(file)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(_model(file, vocabulary, whole_words))
    if normal_form:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre.Sequence(splits) if len(splits) > 1 else splits[0]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    typed = list(zip(tokens, _token_types(file, tokens), strict=True))
    tokenizer.add_special_tokens([_whole(token) for token, kind in typed if kind == CONTROL])
    tokenizer.add_tokens([_whole(token) for token, kind in typed if kind == USER_DEFINED])
    return tokenizer


def _whole(token: str) -> AddedToken:
    """A token that is found in the text before anything else cuts it."""
    return AddedToken(token, normalized=False)


def _model(file: GgufFile, vocabulary: dict[str, int], whole_words: bool) -> BPE:
    merges = file.metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
        raise CheckpointError(
            f"{file.path.name} holds no merges (tokenizer.ggml.merges), which its byte-level "
            "vocabulary needs: convert the model again together with its tokenizer."
        )
    pairs = [tuple(merge.split(" ")) for merge in merges]
    try:
        return BPE(vocab=vocabulary, merges=pairs, ignore_merges=whole_words)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            f"{file.path.name} has merges that do not fit its vocabulary ({reason(error)}): the "
            "file is damaged, download it again."
        ) from error


def _split_rule(file: GgufFile) -> tuple[list[pre.PreTokenizer], bool, bool]:
    """How text is cut before the merges, by `tokenizer.ggml.pre`, as in the models' own files.

    Also whether a whole word of the vocabulary skips the merges, and whether text is put into NFC.
    """
    name = file.metadata.get("tokenizer.ggml.pre")
    if name in _PLAIN:
        return [_bytes(use_regex=True)], False, False
    if name in _DIGITS:
        return [pre.Digits(individual_digits=True), _bytes(use_regex=True)], False, False
    if name in _LLAMA3:
        return _split(rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}"), name != "dbrx", False
    if name in _QWEN2:
        return _split(rf"{_WORDS}|\p{{N}}|{_REST}"), False, True
    if name == "tekken":
        return _split(rf"{_TEKKEN_WORDS}|\p{{N}}|{_TEKKEN_REST}"), True, False
    raise CheckpointError(
        f"{file.path.name} splits text by the rule {name!r}, which is not known here: export from "
        "the model's Hugging Face folder, whose tokenizer.json has it in full."
    )


def _split(pattern: str) -> list[pre.PreTokenizer]:
    return [pre.Split(Regex(pattern), behavior="isolated"), _bytes(use_regex=False)]


def _bytes(use_regex: bool) -> pre.PreTokenizer:
    return pre.ByteLevel(add_prefix_space=False, use_regex=use_regex)
