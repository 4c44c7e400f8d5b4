"""Text ↔ token ids with the bundle's own tokenizer, and the base's chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from dsa_edge.errors import BundleError, DsaEdgeError, ExampleError

if TYPE_CHECKING:
    from dsa_edge.bundle import Bundle
    from dsa_edge.manifest import TokenizerInfo

__all__ = ["Tokenizer"]

SPLIT = "\u200b"  # a zero-width space: between its halves a special token is text
SPLITS = 8  # times a text is looked through: a split may leave another special token


class Tokenizer:
    """Encodes prompts and responses, decodes tokens, renders chats.

    A prompt is the program's, so `encode_prompt` takes special tokens in it as what they are. What
    users write into one goes through `plain` first, and through `chat` on its own.
    info: special tokens; `bos` is put before every prompt where the base wants it.
    """

    def __init__(self, content: str, info: TokenizerInfo, chat_template: str | None = None) -> None:
        from tokenizers import Tokenizer as Backend

        with _library("read"):
            self._backend = Backend.from_str(content)
            self._backend.no_padding()
            self._backend.no_truncation()
            added = self._backend.get_added_tokens_decoder()
        self._special = {number for number, token in added.items() if token.special}
        self._lock = Lock()  # whether special tokens are parsed is the library's own state
        self.info = info
        self._template = chat_template

    @classmethod
    def of(cls, bundle: Bundle) -> Tokenizer:
        """The tokenizer of a bundle."""
        content = bundle.read_text("tokenizer.json")
        if content is None:
            raise BundleError(f"{bundle.path} lists no tokenizer.json: export the bundle again.")
        return cls(content, bundle.manifest.tokenizer, bundle.read_text("chat_template.jinja"))

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, with the start token where the base wants one."""
        ids = self._encoded(text, parse=True)[0]
        bos = self.info.bos_id
        return [bos, *ids] if self.info.add_bos and bos is not None and ids[:1] != [bos] else ids

    def encode(self, text: str) -> list[int]:
        """Token ids of a text alone, in which special tokens are text like any other.

        Raises ExampleError for text that is not Unicode: half of a surrogate pair.
        """
        return self._encoded(text, parse=False)[0]

    def plain(self, text: str) -> str:
        """A user's text as it may stand in a prompt; without special tokens in it, as it is.

        Each of them is split by a zero-width space, so that it is text.
        """
        made = text
        for _ in range(SPLITS):
            ids, offsets = self._encoded(made, parse=True)
            found = [where for i, where in zip(ids, offsets, strict=True) if i in self._special]
            if not found:
                return made
            for start, end in reversed(found):
                at = end - len(made[start:end].lstrip()) + 1  # behind its first character
                made = made[:at] + SPLIT + made[at:]
        raise ExampleError(
            f"{text[:40]!r} holds a special token of this base that cannot be read as text: leave "
            "it out."
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        with _library("used"):
            return str(self._backend.decode(list(ids), skip_special_tokens=True))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Text of tokens as they come, each piece as soon as it is certain."""
        ids: list[int] = []
        sent = ""
        for token in tokens:
            ids.append(token)
            text = self.decode(ids)
            # A character of several tokens shows as U+FFFD until its last one has come.
            if not text.endswith("\ufffd"):
                yield text[len(sent) :]
                sent = text
        if rest := self.decode(ids)[len(sent) :]:
            yield rest

    def chat(self, messages: Sequence[dict[str, str]], generate: bool) -> str:
        """Render a chat with the base's template; what stands in the messages stays text.

        generate: end with the opening of the assistant's next turn.
        Raises ExampleError when the base has no template or refuses the messages.
        """
        if self._template is None:
            raise ExampleError(
                "this base model has no chat template, so `messages` cannot be rendered: "
                'use {"prompt", "response"} lines.'
            )
        try:
            told = [{name: self._said(what) for name, what in m.items()} for m in messages]
            template = _compiled(self._template)
            made = template.render(messages=told, add_generation_prompt=generate, **self._ends())
            return str(made)
        except DsaEdgeError:
            raise
        except Exception as error:  # a template is foreign code and may raise anything
            raise ExampleError(
                f"the base's chat template refuses these messages ({error}): "
                "check their roles and order."
            ) from error

    def _said(self, what: Any) -> Any:
        return self.plain(what) if isinstance(what, str) else what

    def _encoded(self, text: str, parse: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids, and where each stands in the text; parse: look for special tokens."""
        try:
            with self._lock, _library("used"):
                self._backend.encode_special_tokens = not parse
                found = self._backend.encode(text, add_special_tokens=False)
                return list(found.ids), list(found.offsets)
        except TypeError as error:  # all that the library says of lone surrogates
            raise ExampleError(
                f"{text[:40]!r} holds half a character (a lone surrogate), expected Unicode text: "
                "correct its encoding."
            ) from error

    def _ends(self) -> dict[str, Any]:
        bos, eos = self.info.bos_id, self.info.eos_ids[:1]
        return {
            "bos_token": "" if bos is None else self._backend.id_to_token(bos),
            "eos_token": self._backend.id_to_token(eos[0]) if eos else "",
        }


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    """A template in Jinja's sandbox; raises what Jinja does."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source)


@contextmanager
def _library(what: str) -> Iterator[None]:
    """The library raises bare Exception, and a panic of its Rust is not even that."""
    try:
        yield
    except BaseException as error:
        bare = type(error).__name__ in ("Exception", "PanicException")
        if not bare and not (what == "read" and isinstance(error, Exception)):
            raise
        raise BundleError(
            f"tokenizer.json cannot be {what} ({error}): export the bundle again."
        ) from error
