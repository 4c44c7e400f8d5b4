"""Chats in the native runner: prompts and tokens as Python has them, and what is refused."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import TEMPLATES, WHOLE
from native_runner import Library, Runner, RunnerError

from dsa_edge.bundle import Bundle, hash_file
from dsa_edge.errors import ExampleError
from dsa_edge.examples import read_examples
from dsa_edge.exporters._chat import take_apart
from dsa_edge.kernels.library import library_path
from dsa_edge.manifest import TokenizerInfo, checksum_of
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer
from dsa_edge.tokenizer import Tokenizer

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)

Bundles = Callable[[str], Path]
Chat = list[dict[str, str]]
TEXTS = (
    "", " ", "\n", "Hello", " it's", "\u00a0", "\u2028\x1f", "\x85 ", "<|bos|>", "<|eos|>",
    "<|im_end|>\n", "<|im_start|>", " [/INST] ", "<<SYS>>\n", "</think>", "{{ x }}", "日本 🙂",
    "<|eot_id|>", "<end_of_turn>", "e\u0301", "'\"\\",
)  # fmt: skip


def chats(count: int) -> list[Chat]:
    """Of all roles in any order, and more that alternate, as most are."""
    draw, made = random.Random(3), []
    for number in range(count):
        roles = draw.choices(("system", "user", "assistant", "tool"), (4, 8, 8, 1), k=5)
        if number % 4:
            roles = [("user", "assistant")[i % 2] for i in range(draw.choice((1, 2, 3, 5)))]
            roles = ["system", *roles] if number % 4 == 1 else roles
        made.append([
            {"role": role, "content": "".join(draw.choices(TEXTS, k=draw.randint(0, 4)))}
            for role in roles[: draw.randint(1, 6)]
        ])  # fmt: skip
    return made


@pytest.fixture(scope="module")
def copy(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that tests give other templates."""
    return Path(shutil.copytree(bundles("llama"), tmp_path_factory.mktemp("chats") / "a.dsa"))


def with_template(
    bundle: Path, template: str | None, tokenizer: str | None = None, **stated: Any
) -> Tokenizer:
    """A bundle as an export of another chat template, and tokenizer, would have made it."""
    content = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    content["tokenizer"] |= stated
    for name, text in (("chat_template.jinja", template), ("tokenizer.json", tokenizer)):
        if text is not None:
            (bundle / name).write_text(text, encoding="utf-8")
            size = (bundle / name).stat().st_size
            content["files"][name] = {"sha256": hash_file(bundle / name), "bytes": size}
    if template is None:
        content["files"].pop("chat_template.jinja", None)
    told = (bundle / "tokenizer.json").read_text(encoding="utf-8")
    info = TokenizerInfo(**content["tokenizer"])
    parts = take_apart(told, info, template)
    content["chat"] = None if parts is None else asdict(parts)
    content["checksum"] = checksum_of(content)
    (bundle / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    return Tokenizer(told, info, template)


def compared(me: Runner, tokenizer: Tokenizer, given: list[Chat]) -> int:
    """How many chats are rendered; each of them as in Python, and none that Python refuses."""
    rendered = 0
    for chat in given:
        try:
            made = me.text("dsa_chat", json.dumps(chat).encode())
        except RunnerError as error:
            assert error.kind == "example"
            continue
        assert made == tokenizer.chat(chat, True), chat
        if rendered % 8 == 0:
            assert me.tokens(made) == tokenizer.encode_prompt(made), chat
        rendered += 1
    return rendered


@pytest.mark.parametrize("name", TEMPLATES)
def test_families_render_chats_as_python_does(library: Library, copy: Path, name: str) -> None:
    tokenizer = with_template(copy, TEMPLATES[name])
    with Runner(library, copy) as me:
        assert compared(me, tokenizer, chats(400)) > 100


def test_smollm2_renders_chats_as_python_does(
    library: Library, smollm2: Path, bundles: Bundles, tmp_path: Path
) -> None:
    """Its own tokenizer and template, with the system message that it puts where there is none."""
    from dsa_edge.exporters.checkpoint import open_checkpoint

    source = open_checkpoint(smollm2)
    bundle = Path(shutil.copytree(bundles("llama"), tmp_path / "smol.dsa"))
    own = {"bos_id": source.bos_id, "eos_ids": source.eos_ids, "add_bos": source.add_bos}
    tokenizer = with_template(bundle, source.chat_template, source.tokenizer_json, **own)
    with Runner(library, bundle) as me:
        assert compared(me, tokenizer, chats(400)) > 300
        made = me.text("dsa_chat", b'[{"role": "user", "content": "Hi"}]')
        assert "You are a helpful AI assistant named SmolLM" in made


REFUSED = {
    "no JSON": "no JSON",
    "{}": "one message or more",
    "[]": "one message or more",
    "[1]": "list of {role, content}",
    '[{"role": "user"}]': "list of {role, content}",
    '[{"role": "user", "content": 1}]': "list of {role, content}",
    '[{"role": "user", "content": null}]': "list of {role, content}",
    '[{"role": "user", "content": ["a"]}]': "list of {role, content}",
    '[{"role": 1, "content": "a"}]': "list of {role, content}",
    '[{"role": "user", "content": "a", "name": "ann"}]': 'the field "name"',
    '[{"role": "tool", "content": "a"}]': 'role "tool" is first, expected user, system here',
    '[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]': 'follows one of "user"',
    '[{"role": "system", "content": "a"}]': 'ends with a message of the role "system"',
    '[{"role": "system", "content": "a"}, {"role": "user", "content": " "}]': "is empty",
    '[{"role": "user", "content": "a\\u0000b"}]': "zero byte",
    '[{"role": "user", "content": "\\ud83d"}]': "no JSON",
}


def test_what_is_no_chat_or_was_not_checked_is_refused(library: Library, copy: Path) -> None:
    with_template(copy, TEMPLATES["llama2"])
    with Runner(library, copy) as me:
        for given, told in REFUSED.items():
            with pytest.raises(RunnerError) as caught:
                me.text("dsa_chat", given.encode())
            assert told in str(caught.value), given
            assert caught.value.kind == "example"


def test_a_bundle_without_parts_says_why_and_what_to_do(library: Library, copy: Path) -> None:
    chat = b'[{"role": "user", "content": "a"}]'
    for template, told in ((None, "no chat template"), (WHOLE["json"], "more than join texts")):
        with_template(copy, template)
        with Runner(library, copy) as me, pytest.raises(RunnerError, match=told):
            me.text("dsa_chat", chat)


def test_texts_that_a_template_looks_for_are_refused(library: Library, copy: Path) -> None:
    with_template(copy, TEMPLATES["qwen3"])
    with Runner(library, copy) as me, pytest.raises(RunnerError, match="does something"):
        me.text("dsa_chat", b'[{"role": "user", "content": "a </think> b"}]')


def answered(count: int) -> list[dict[str, Any]]:
    answers = (" green in the morning", "warm <|eos|> bread", "slow, long and sad")
    return [
        {"messages": [
            {"role": "system", "content": " Be brief.<|bos|>"},
            {"role": "user", "content": f"Garden {i} was "},
            {"role": "assistant", "content": answers[i % 3]},
        ]}
        for i in range(count)
    ]  # fmt: skip


def test_messages_teach_what_they_teach_in_python(
    library: Library, copy: Path, tmp_path: Path
) -> None:
    """Losses, and the journal to the bit; Python knows the fit's examples as its own."""
    tokenizer, data = with_template(copy, TEMPLATES["smollm2"]), tmp_path / "chats.jsonl"
    data.write_text("\n".join(map(json.dumps, answered(12))), encoding="utf-8")
    examples = read_examples(data, chat=tokenizer.chat)
    told = library.run("evaluate", copy, "--data", data, "--threads", "1")
    with Runner(library, copy, tmp_path / "native") as me:
        report = me.fit(answered(12), 3, queries=2, batch=4)
    own = Hyperparameters.from_dict({**report["hyperparameters"], "smoothing": 0.0})
    with Personalizer.open(copy, tmp_path / "python", "executorch", threads=1) as me:
        (evaluated,) = me.evaluate(examples, [0])
        assert told["loss"] == pytest.approx(evaluated.loss, abs=1e-5)
        me.fit(examples, Budget(steps=3), hyperparameters=own)
        theirs = me.journal()
    with Personalizer.open(copy, tmp_path / "native", "executorch", threads=1) as me:
        for a, b in zip(me.journal(), theirs, strict=True):
            assert np.array_equal(a.slopes, b.slopes)
        assert {me.example_id(example) for example in examples} == me.known_examples()


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], "ends with the assistant's answer"),
        ([{"role": "assistant", "content": "a"}], "ends with the assistant's answer"),
        ([{"role": "user", "content": "a"}] * 2, "ends with the assistant's answer"),
        ([{"role": "user", "content": "a"}, {"role": "assistant"}], "assistant's answer"),
        ([{"role": "user"}, {"role": "assistant", "content": "a"}], "both texts"),
        ([1, {"role": "assistant", "content": "a"}], "both texts"),
        ([{"role": "x", "content": "a"}, {"role": "assistant", "content": "a"}], 'role "x"'),
        ("a", "ends with the assistant's answer"),
    ],
)
def test_messages_of_no_use_are_refused_by_line(
    library: Library, bundles: Bundles, tmp_path: Path, messages: Any, told: str
) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": messages}), encoding="utf-8")
    error = library.run("evaluate", bundles("llama"), "--data", file, code=1)["error"]
    assert f"{file}, line 1: " in error
    assert told in error
    if "x" not in told:
        with pytest.raises(ExampleError):
            read_examples(file, chat=Tokenizer.of(Bundle.open(bundles("llama"))).chat)


def test_a_prompt_is_generated_from_as_a_chat(library: Library, bundles: Bundles) -> None:
    words = "--prompt", "a <|eos|> film", "--max-tokens", "6", "--threads", "1"
    told = library.run("generate", bundles("llama"), "--chat", *words)["text"]
    with Personalizer.open(bundles("llama"), backend="executorch", threads=1) as me:
        prompt = me.chat([{"role": "user", "content": "a <|eos|> film"}])
        assert told == me.generate(prompt, 6)
