"""Chat templates taken apart: joined again they are what Jinja renders, or there are no parts."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path

import pytest
from chat_templates import TEMPLATES, WHOLE
from tiny import train_tokenizer

from dsa_edge.bundle import Bundle
from dsa_edge.chat import ChatParts
from dsa_edge.errors import ExampleError
from dsa_edge.exporters import _chat
from dsa_edge.exporters._chat import take_apart
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.tokenizer import Tokenizer

CONTENT, INFO = train_tokenizer().to_str(), TokenizerInfo("x", 0, (1,), 2, True)
ROLES = ("system", "user", "assistant", "tool")
TEXTS = (
    "", " ", "\n\n", "\u00a0\u2028", " Hello ", "\x1fa\x85", "<|eos|>", "[/INST] <<SYS>>\n",
    "<|im_end|>\n<|im_start|>user\n", "</think>", "東京 👩\u200d👧", "{{ bos_token }}", "'\"\\n",
)  # fmt: skip


def told(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def parts_of(name: str) -> tuple[ChatParts, Tokenizer]:
    found = take_apart(CONTENT, INFO, TEMPLATES[name])
    assert found is not None
    return found, Tokenizer(CONTENT, INFO, TEMPLATES[name])


@pytest.mark.parametrize("name", TEMPLATES)
def test_families_are_joined_as_jinja_renders_them(name: str) -> None:
    """Other chats than an export draws; what Jinja refuses is refused."""
    parts, tokenizer = parts_of(name)
    draw, rendered = random.Random(7), 0
    for _ in range(600):
        roles = random.Random(draw.random()).choices(ROLES, (1, 4, 4, 0.1), k=draw.randint(1, 6))
        if draw.random() < 0.8:
            roles = [("user", "assistant")[at % 2] for at in range(draw.choice((1, 3, 5)))]
        messages = told(*((role, "".join(draw.choices(TEXTS, k=2))) for role in roles))
        try:
            made = parts.render(messages, tokenizer.plain)
        except ExampleError:
            continue
        assert made == tokenizer.chat(messages, True), messages
        rendered += 1
    assert rendered > 150


@pytest.mark.parametrize("name", TEMPLATES)
def test_usual_chats_of_all_families_are_rendered(name: str) -> None:
    parts, tokenizer = parts_of(name)
    turns = told(("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"))
    system = told(("system", "Be brief."))
    for chat in (turns[:1], turns, system + turns[:1], system + turns):
        if chat[0]["role"] == "system" and name in ("gemma2", "mistral1", "mistral3"):
            assert not parts.accepts([message["role"] for message in chat])
        else:
            assert parts.render(chat, tokenizer.plain) == tokenizer.chat(chat, True)


@pytest.mark.parametrize("name", WHOLE)
def test_templates_that_do_more_have_no_parts(name: str) -> None:
    assert take_apart(CONTENT, INFO, WHOLE[name]) is None


def test_a_template_of_the_last_message_alone_renders_no_more() -> None:
    parts = take_apart(CONTENT, INFO, "Q: {{ messages[-1].content }} A:")
    assert parts is not None
    assert parts.render(told(("user", "why?")), str) == "Q: why? A:"
    assert not parts.accepts(["user", "assistant", "user"])


def test_a_base_without_a_template_has_no_parts() -> None:
    assert take_apart(CONTENT, INFO, None) is None


def test_a_default_system_message_stands_where_none_is_given() -> None:
    parts, tokenizer = parts_of("smollm2")
    assert "You are a helpful" in parts.render(told(("user", "Hi")), tokenizer.plain)
    own = parts.render(told(("system", "Be brief."), ("user", "Hi")), tokenizer.plain)
    assert "You are a helpful" not in own


def test_what_was_not_checked_is_refused() -> None:
    parts, tokenizer = parts_of("llama2")
    refused = {
        "the role 'tool' is first": told(("tool", "a")),
        "follows 'user'": told(("user", "a"), ("user", "b")),
        "ends with 'system'": told(("system", "a")),
        "is empty": told(("system", "a"), ("user", " \n")),  # its white space is the template's
        "ends with ''": [],
    }
    for reason, chat in refused.items():
        with pytest.raises(ExampleError, match=reason):
            parts.render(chat, tokenizer.plain)


def test_texts_that_a_template_looks_for_are_refused_in_contents() -> None:
    """Qwen 3 cuts the reasoning out of answers."""
    parts, tokenizer = parts_of("qwen3")
    assert parts.without == ("</think>",)
    with pytest.raises(ExampleError, match="chat template changes"):
        parts.render(told(("user", "a </think> b")), tokenizer.plain)


def test_a_template_that_takes_too_long_has_no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_chat, "SECONDS", -1.0)
    assert take_apart(CONTENT, INFO, TEMPLATES["chatml"]) is None


def test_a_bundle_carries_the_parts_of_its_template(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    parts, tokenizer = opened.manifest.chat, Tokenizer.of(opened)
    assert parts is not None
    chat = told(("user", "a <|eos|>"), ("assistant", "b"))
    assert parts.render(chat, tokenizer.plain) == tokenizer.chat(chat, True)
    with pytest.raises(ValueError, match="none"):
        ChatParts.read({**asdict(parts), "without": [""]})
