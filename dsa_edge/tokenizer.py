"""Text ↔ token ids with the bundle's own tokenizer, and the base's chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dsa_edge.errors import BundleError, ExampleError

if TYPE_CHECKING:
    from dsa_edge.bundle import Bundle
    from dsa_edge.manifest import TokenizerInfo

__all__ = ["Tokenizer"]


class Tokenizer:
    """Encodes prompts and responses, decodes tokens, renders chats.

    info: special tokens; `bos` is put before every prompt where the base wants it.
    """

    def __init__(self, content: str, info: TokenizerInfo, chat_template: str | None = None) -> None:
        from tokenizers import Tokenizer as Backend

        try:
            self._backend = Backend.from_str(content)
        except Exception as error:  # the library raises bare Exception
            raise BundleError(
                f"tokenizer.json cannot be read ({error}): export the bundle again."
            ) from error
        self._backend.no_padding()
        self._backend.no_truncation()
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
        ids = self.encode(text)
        bos = self.info.bos_id
        return [bos, *ids] if self.info.add_bos and bos is not None and ids[:1] != [bos] else ids

    def encode(self, text: str) -> list[int]:
        """Token ids of a text alone.

        Raises ExampleError for text that is not Unicode: half of a surrogate pair.
        """
        try:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        except TypeError as error:  # all that the library says of lone surrogates
            raise ExampleError(
                f"{text[:40]!r} holds half a character (a lone surrogate), expected Unicode text: "
                "correct its encoding."
            ) from error

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
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
        """Render a chat with the base's template.

        generate: end with the opening of the assistant's next turn.
        Raises ExampleError when the base has no template or refuses the messages.
        """
        if self._template is None:
            raise ExampleError(
                "this base model has no chat template, so `messages` cannot be rendered: "
                'use {"prompt", "response"} lines.'
            )
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise TemplateError(message)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        try:
            template = environment.from_string(self._template)
            return template.render(
                messages=list(messages), add_generation_prompt=generate, **self._special()
            )
        except Exception as error:  # a template is foreign code and may raise anything
            raise ExampleError(
                f"the base's chat template refuses these messages ({error}): "
                "check their roles and order."
            ) from error

    def _special(self) -> dict[str, Any]:
        bos, eos = self.info.bos_id, self.info.eos_ids[:1]
        return {
            "bos_token": "" if bos is None else self._backend.id_to_token(bos),
            "eos_token": self._backend.id_to_token(eos[0]) if eos else "",
        }
