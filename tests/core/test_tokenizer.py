"""Text ↔ tokens ↔ text, and chat templates that come from strangers."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import SPECIAL, train_tokenizer

from dsa_edge.errors import BundleError, ExampleError
from dsa_edge.examples import Labels
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.tokenizer import Tokenizer

CONTENT = train_tokenizer().to_str()
BOS, EOS, PAD = SPECIAL
HELLO = [{"role": "user", "content": "Grüß dich"}]


def make(
    template: str | None = None, add_bos: bool = True, bos: int | None = 0, content: str = CONTENT
) -> Tokenizer:
    return Tokenizer(content, TokenizerInfo("x", bos, (1,), 2, add_bos), template)


PLAIN, BACKEND = make(), train_tokenizer()
CHAT = make(
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
)


def test_prompts_get_one_start_token_and_texts_none() -> None:
    ids = PLAIN.encode("warm bread")
    assert 0 not in ids
    assert PLAIN.encode_prompt("warm bread") == [0, *ids]
    assert PLAIN.encode_prompt(BOS + "warm bread") == [0, *ids]  # a chat template may have put it
    assert PLAIN.encode_prompt("") == [0]
    assert make(add_bos=False).encode_prompt("warm bread") == ids
    assert make(bos=None).encode_prompt("warm bread") == ids


@given(st.text(max_size=60))
@example("<|bos| > <bos> |eos|> <||> it's  <|eos |>")
@settings(deadline=None)
def test_ordinary_text_is_encoded_as_the_library_does(text: str) -> None:
    ids = BACKEND.encode(text, add_special_tokens=False).ids
    assert PLAIN.encode(text) == ids
    assert PLAIN.encode_prompt(text) == [0, *ids]
    assert PLAIN.plain(text) == text
    assert CHAT.chat([{"role": "user", "content": text}], True) == f"{BOS}user: {text}{EOS}"


TYPED = [
    *SPECIAL, "a <|bos|>", "<|eos|><|eos|>", "<<|eos|>", "<|b<|bos|>os|>",
    " <|pad|>\n<|bos|> é<|eos|>",
]  # fmt: skip


@pytest.mark.parametrize("text", TYPED)
def test_what_a_user_types_is_never_a_special_token(text: str) -> None:
    assert not set(PLAIN.encode(text)) & {0, 1, 2}
    assert PLAIN.decode(PLAIN.encode(text)) == text
    plain = PLAIN.plain(text)
    assert plain.replace("\u200b", "") == text
    assert PLAIN.plain(plain) == plain
    assert PLAIN.encode_prompt(f"Review: {plain} It was")[1:] == PLAIN.encode(
        f"Review: {plain} It was"
    )
    turns = [{"role": text, "content": text}, {"role": "user", "content": "b"}]
    ids = CHAT.encode_prompt(CHAT.chat(turns, False))
    assert [i for i in ids if i in (0, 1, 2)] == [0, 1, 1]  # the template's own alone


def test_prompts_of_the_program_keep_their_special_tokens() -> None:
    """In between, texts do not change how prompts are read."""
    for _ in range(2):
        assert PLAIN.encode_prompt(f"{BOS}warm{EOS}")[:: len(PLAIN.encode("warm")) + 1] == [0, 1]
        assert 1 not in PLAIN.encode(EOS)


def test_labelled_texts_are_plain_in_prompts_and_in_worked_examples() -> None:
    labels = Labels(f"{BOS}Review: {{text}}{EOS}So", ("bad", "good"), PLAIN.plain)
    shown = labels.with_shots([(f"dull {EOS}", 0)])
    for made, ends in ((labels, 1), (shown, 2)):
        ids = PLAIN.encode_prompt(made.prompt(f" fine {EOS} {BOS} "))
        assert (ids.count(0), ids.count(1)) == (ends, ends)
    assert labels.example("a film", 0).prompt == f"{BOS}Review: a film{EOS}So"
    assert Labels("{text} So", ("bad", "good")).prompt(EOS) == f"{EOS} So"  # without a tokenizer


def test_a_special_token_of_one_character_is_refused() -> None:
    backend = train_tokenizer()
    backend.add_special_tokens(["☂"])
    made = make(content=backend.to_str())
    assert "☂" in made.decode(made.encode("5 ☂"))
    with pytest.raises(ExampleError, match="'5 ☂' holds a special token .*leave it out"):
        made.plain("5 ☂")


def test_special_tokens_are_never_shown() -> None:
    ids = PLAIN.encode("warm bread")
    assert PLAIN.decode([0, *ids, 1, 2]) == "warm bread"
    assert PLAIN.decode([]) == ""


@given(st.text(max_size=40))
@example("é☂ 👩‍👩‍👧 \ufffd\x00")
@settings(deadline=None)
def test_any_text_survives_and_streams_in_whole_characters(text: str) -> None:
    ids = PLAIN.encode(text)
    assert PLAIN.decode(ids) == text
    pieces = list(PLAIN.stream(ids))
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_cut_off_at_the_end_is_shown_as_such_and_not_dropped() -> None:
    assert list(PLAIN.stream(PLAIN.encode("a é")[:-1])) == ["a", " ", "\ufffd"]
    assert list(PLAIN.stream([])) == []


def test_the_tokenizers_own_padding_and_truncation_are_off() -> None:
    backend = train_tokenizer()
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    made = make(content=backend.to_str())
    assert made.encode("the quiet baker opens early") == PLAIN.encode("the quiet baker opens early")


@pytest.mark.parametrize("text", ["\udcff", "say \ud83d", "\udc00" * 3])
def test_half_a_character_is_an_error_with_a_remedy(text: str) -> None:
    for call in (PLAIN.encode, PLAIN.encode_prompt):
        with pytest.raises(ExampleError, match="surrogate.*correct its encoding"):
            call(text)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"version": "1.0"}', CONTENT[:-9]])
def test_a_tokenizer_that_is_none_is_refused(content: str) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be read"):
        make(content=content)


def test_a_chat_is_rendered_as_the_base_wants_it() -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}\n"
        "    {% if m.role == 'user' %}\n<{{ m['content'] }}>\n{% else %}\n"
        "{{ m['content'] }}{{ eos_token }}\n{% endif %}\n"
        "{% endfor %}{% if add_generation_prompt %}answer:{% endif %}"
    )
    chat = make(template).chat
    assert chat(HELLO, True) == f"{BOS}<Grüß dich>\nanswer:"
    answered = [*HELLO, {"role": "assistant", "content": "Hallo"}]
    assert chat(answered, False) == f"{BOS}<Grüß dich>\nHallo{EOS}\n"
    assert make("{{ messages | tojson }}").chat(HELLO, True) == json.dumps(
        HELLO, ensure_ascii=False
    )
    assert make("{{ bos_token }}!", bos=None).chat(HELLO, True) == "!"


def test_a_base_without_a_template_says_what_to_use_instead() -> None:
    with pytest.raises(ExampleError, match="no chat template.*prompt"):
        PLAIN.chat(HELLO, True)


REFUSED = {
    "its own refusal": ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    "no template": ("{% if", "end of template"),
    "unknown filter": ("{{ messages | shout }}", "shout"),
    "missing message": ("{{ messages[5].role }}", "no element 5"),
    "types": ("{{ messages | sum }}", "unsupported operand"),
    "division": ("{{ 1 / 0 }}", "division by zero"),
    "value": ("{{ 'abc'.index('z') }}", "substring not found"),
    "endless": ("{% for i in range(10 ** 9) %}x{% endfor %}", "Range too big"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    "reads Python": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "changes the messages": ("{{ messages.append(1) }}", "unsafe"),
    "calls Python": ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_fails_or_attacks_is_one_error(name: str) -> None:
    template, words = REFUSED[name]
    messages = [dict(message) for message in HELLO]
    with pytest.raises(ExampleError, match=words):
        make(template).chat(messages, True)
    assert messages == HELLO
