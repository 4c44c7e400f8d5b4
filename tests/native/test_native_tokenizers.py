"""Tokenizers of model families in C++ against Python's `tokenizers`: ids, plain texts, decoding.

Each family's steps are those of its published tokenizer.json; the vocabularies are small ones that
are trained here, so that most words take several merges and some characters are unknown.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from native_runner import Library
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from dsa_edge.errors import ExampleError
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.tokenizer import Tokenizer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "</s>")
PIECES = (
    " ", "  ", "\n", "\r\n\r\n", "\t", " \n ", "the", " The", " film", " films", "it's", "IT'S",
    "don't", "'ll", "'ſ", "12", "2024", " 3.14", "½", "Ⅷ", "٣", "!", "?!", " ...", "-", "_", "a_b",
    "naïve", "e\u0301", "\u1100\u1161\u11a8", "\u212b", "ﬁ", "東京", " сюжет", "İ", "ß", "👍🏽",
    "👩\u200d👧", "\u00a0", "\u180e", "\u2028", "\u3000", "\u200b", "\ufeff", "▁", " ▁", "Ġ",
    "<0x41>", "<", "|>", *SPECIAL, "<tool_call>", " <tool_call> ",
)  # fmt: skip
TEXTS = [
    "the film is not the best of the films, and it's a waste of time.",
    "The plot was thin; the actors were good, weren't they? 1234 of 2024 think so!",
    "  def film(the, plot):\n    return the + plot\n\n",
    "naïve 東京 сюжет фильм",
] * 4
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")


def bytes_of_words(*cuts: Any, normalizer: Any = None, **model: Any) -> Backend:
    """Byte-level BPE behind some cuts, as GPT-2, Llama 3 and Qwen have it."""
    made = Backend(BPE(**model))
    made.pre_tokenizer = pre_tokenizers.Sequence(list(cuts))
    made.decoder = decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(made, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet))


def pieces_of_text(normalizer: Any, cut: Any, decoder: Any) -> Backend:
    """BPE over characters, with bytes for unknown ones, as SentencePiece has it."""
    made = Backend(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    for name, step in (("normalizer", normalizer), ("pre_tokenizer", cut), ("decoder", decoder)):
        if step is not None:
            setattr(made, name, step)
    made = trained(made, trainers.BpeTrainer(vocab_size=220, special_tokens=["<unk>"]))
    content = json.loads(made.to_str())
    vocabulary = content["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    content["added_tokens"] = []
    return Backend.from_str(json.dumps(content))


def trained(made: Backend, trainer: Any) -> Backend:
    made.train_from_iterator(TEXTS, trainer)
    return made


def sentencepiece(*more: Any) -> Any:
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more]
    )


def gpt2() -> Backend:
    return bytes_of_words(pre_tokenizers.ByteLevel(add_prefix_space=False))


def prefixed() -> Backend:
    return bytes_of_words(pre_tokenizers.ByteLevel(add_prefix_space=True))


def smollm2() -> Backend:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return bytes_of_words(digits, pre_tokenizers.ByteLevel(add_prefix_space=False))


def llama3() -> Backend:
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    made = json.loads(bytes_of_words(cut, whole, ignore_merges=True).to_str())
    made["model"]["vocab"]["Ġunmerged"] = len(made["model"]["vocab"])  # a word that no merge makes
    return Backend.from_str(json.dumps(made))


def qwen() -> Backend:
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Split(Regex(QWEN), "isolated")
    return bytes_of_words(cut, whole, normalizer=normalizers.NFC())


def gemma() -> Backend:
    cut = pre_tokenizers.Split(" ", "merged_with_previous")
    return pieces_of_text(normalizers.Replace(" ", "▁"), cut, sentencepiece())


def llama2() -> Backend:
    steps = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return pieces_of_text(steps, None, sentencepiece(decoders.Strip(" ", 1, 0)))


def metaspace(scheme: str, split: bool = True) -> Callable[[], Backend]:
    cut = pre_tokenizers.Metaspace("▁", scheme, split)
    decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", scheme, split)])
    return lambda: pieces_of_text(None, cut, decoder)


FAMILIES: dict[str, Callable[[], Backend]] = {
    "gpt2": gpt2, "prefixed": prefixed, "smollm2": smollm2, "llama3": llama3, "qwen": qwen,
    "gemma": gemma, "llama2": llama2, "tinyllama": metaspace("first", False),
    "always": metaspace("always"), "first": metaspace("first"), "never": metaspace("never"),
}  # fmt: skip


class Native:
    """`tokenizer_tool` over one tokenizer.json."""

    def __init__(self, program: Path, file: Path) -> None:
        self._command = [program, file]

    def __call__(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines = "".join(json.dumps(one) + "\n" for one in asked)
        done = subprocess.run(
            self._command, input=lines, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(params=FAMILIES)
def both(
    request: pytest.FixtureRequest, library: Library, tmp_path: Path
) -> tuple[Tokenizer, Native]:
    """A family's tokenizer in Python, and in C++."""
    made = FAMILIES[request.param]()
    made.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    made.add_tokens([AddedToken("<tool_call>", normalized=False)])
    file = tmp_path / "tokenizer.json"
    made.save(str(file))
    own = Tokenizer(file.read_text(encoding="utf-8"), TokenizerInfo("", None, (), 0, False))
    return own, Native(library.folder / "tests" / "tokenizer_tool", file)


def texts(count: int) -> list[str]:
    draw = random.Random(1)
    made = [""]
    for _ in range(count):
        some = [draw.choice(PIECES) for _ in range(draw.randint(1, 9))]
        codes = draw.randint(1, 0x2FFF), draw.randint(0xE000, 0x1F9FF), draw.randint(32, 126)
        some += [chr(draw.choice(codes)) for _ in range(draw.randint(0, 2))]
        draw.shuffle(some)
        made.append("".join(some))
    return made


def in_python(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    ids, prompt = tokenizer.encode(text), tokenizer.encode_prompt(text)
    return {"ids": ids, "prompt": prompt, "plain": tokenizer.plain(text)}


def test_families_cut_texts_into_the_same_tokens(both: tuple[Tokenizer, Native]) -> None:
    tokenizer, native = both
    given = texts(1500)
    for text, told in zip(given, native([{"text": text} for text in given]), strict=True):
        try:
            assert told == in_python(tokenizer, text), ascii(text)
        except ExampleError:
            assert "error" in told, ascii(text)


def test_families_decode_what_texts_are_cut_into(both: tuple[Tokenizer, Native]) -> None:
    """Whole texts, texts cut within a character, and tokens in any order."""
    tokenizer, native = both
    draw = random.Random(2)
    whole = [tokenizer.encode_prompt(text) for text in texts(300)]
    most = 1 + max(number for ids in whole for number in ids)
    cut = [ids[: draw.randint(0, len(ids))] for ids in whole]
    drawn = [[draw.randrange(most) for _ in range(draw.randint(0, 12))] for _ in range(600)]
    given = [*whole, *cut, *drawn]
    for ids, told in zip(given, native([{"ids": ids} for ids in given]), strict=True):
        streamed = "".join(tokenizer.stream(ids))
        assert told == {"text": tokenizer.decode(ids), "streamed": streamed}, ids
