"""The native runner and Python on ExecuTorch: the same tokens, losses, answers and journals."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_runner import Library, Runner

from dsa_edge.adapter import Adapter, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.gate import Gate
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Example, FileKey, Hyperparameters, Personalizer
from dsa_edge.tokenizer import Tokenizer

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)

Bundles = Callable[[str], Path]
# Both sides compute what they show in float64 and round it once; probabilities are float32.
SAME = 2e-6
PIECES = (
    " ", "  ", "\n", "\t", "\r\n", "don't", "I'LL", " 1234", "é", "e\u0301", "日本", "🙂",
    "<|bos|>",
    "<|eos|>", "\u00a0", "\u180e", "\u3000", "ß", "٣", "½", "The", " word", "!!", "...", "'ſ", "_",
    "\u200b", "\x85", "ﬁ", "ǆ",
)  # fmt: skip


def lines(count: int = 40) -> list[dict[str, Any]]:
    """Choices of one token each, that follow from the prompt."""
    texts = ("What a great story", "It was slow", "the children laughed", "sadly long")
    answers = (" a", " l", " a", " l")
    return [
        {"prompt": f"{texts[i % 4]} {i}", "response": answers[i % 4], "choices": [" a", " l"]}
        for i in range(count)
    ]


def free(count: int = 24) -> list[dict[str, Any]]:
    answers = (" green in the morning", " warm bread", " slow, long and sad")
    return [{"prompt": f"Garden {i} was", "response": answers[i % 3]} for i in range(count)]


def several(count: int = 24) -> list[dict[str, Any]]:
    """Choices of several tokens."""
    choices = [" green in the morning", " slow and long"]
    return [
        {"prompt": f"Rain fell on {i}", "response": choices[i % 2], "choices": choices}
        for i in range(count)
    ]


def examples(given: list[dict[str, Any]]) -> list[Example]:
    return [Example(e["prompt"], e["response"], tuple(e.get("choices", ()))) for e in given]


def written(folder: Path, given: list[dict[str, Any]]) -> Path:
    file = folder / "data.jsonl"
    file.write_text("\n".join(map(json.dumps, given)), encoding="utf-8")
    return file


def python(bundle: Path, store: Path | None = None, **more: Any) -> Personalizer:
    return Personalizer.open(bundle, store, backend="executorch", threads=1, **more)


def learned(bundle: Path, file: Path) -> Path:
    """An adapter file with numbers that matter, and a gate where there are several blocks."""
    manifest = Bundle.open(bundle, check_hashes=False).manifest
    draws = np.random.default_rng(3)
    numbers = draws.normal(0, 0.3 / manifest.slots[0].size ** 0.5, manifest.adapter_size)
    gate = None
    if manifest.gate_shape:
        blocks, width = manifest.gate_shape
        table = draws.normal(0, 1, (blocks, width + 1)).astype(np.float32)
        gate = Gate.read(table, (1,) * blocks)
    adapter = Adapter(numbers.astype(np.float32), {" a": 0.25, " l": -0.25}, gate)
    save_adapter(file, adapter, manifest.identity, manifest.adapter)
    return file


def test_texts_are_cut_into_the_same_tokens(library: Library, bundles: Bundles) -> None:
    tokenizer = Tokenizer.of(Bundle.open(bundles("llama")))
    draw = random.Random(0)
    with Runner(library, bundles("llama")) as me:
        for _ in range(1500):
            some = [draw.choice(PIECES) for _ in range(draw.randint(0, 8))]
            some += [chr(draw.choice((draw.randint(1, 0x2FFF), draw.randint(0xE000, 0x1F9FF))))]
            draw.shuffle(some)
            text = "".join(some)
            assert me.tokens(text) == tokenizer.encode_prompt(text), ascii(text)
            assert me.plain(text) == tokenizer.plain(text), ascii(text)


@pytest.mark.parametrize("name", ["llama", "gemma", "gated", "lora"])
def test_answers_texts_and_losses_are_those_of_python(
    library: Library, bundles: Bundles, tmp_path: Path, name: str
) -> None:
    adapter, store = learned(bundles(name), tmp_path / "a.safetensors"), tmp_path / "me"
    library.run("load", bundles(name), "--adapter", adapter, "--store", store)
    given = [*lines(9), *free(5), *several(6)]
    data = written(tmp_path, given)
    with python(bundles(name), store) as me:
        assert me.version == 1
        for version in ("0", "1"):
            words = "--store", store, "--version", version
            prompt = "He did not like the film"
            told = library.run(
                "choose", bundles(name), "--prompt", prompt, "--choices", " a, l", *words
            )
            expected = me.choose(prompt, [" a", " l"], version=int(version))
            assert told["choice"] == expected.text
            assert list(told["probabilities"].values()) == pytest.approx(
                expected.probabilities, abs=SAME
            )
            text = library.run("generate", bundles(name), "--prompt", prompt, *words)["text"]
            assert text == me.generate(prompt, version=int(version))
            found = library.run("evaluate", bundles(name), "--data", data, *words)
            base, wanted = me.evaluate(examples(given), [0, int(version)])
            assert found["version"] == int(version)
            for told, measured in ((found, wanted), (found["base"], base)):
                assert told["loss"] == pytest.approx(measured.loss, abs=1e-5)
                assert told["examples"] == measured.examples
            alike = library.run("evaluate", bundles(name), "--data", written(tmp_path, lines(9)))
            assert alike["accuracy"] is not None
            data = written(tmp_path, given)


@pytest.mark.parametrize("given", [lines(), free(), several()], ids=["choices", "free", "several"])
def test_a_fit_makes_the_journal_that_python_makes(
    library: Library, bundles: Bundles, tmp_path: Path, given: list[dict[str, Any]]
) -> None:
    hyper = {"queries": 3, "batch": 5, "rate": 0.02, "epsilon": 0.05}
    with Runner(library, bundles("llama"), tmp_path / "native") as me:
        report = me.fit(given, 4, **hyper)
        choices = all("choices" in e for e in given)
        own = Hyperparameters.from_dict(
            {**report["hyperparameters"], "smoothing": 0.2 if choices else 0.0}
        )
    with python(bundles("llama"), tmp_path / "python") as me:
        expected = me.fit(examples(given), Budget(steps=4), hyperparameters=own)
        theirs = me.journal()
    with python(bundles("llama"), tmp_path / "native") as me:
        mine = me.journal()
        assert [step.rate for step in mine] == [step.rate for step in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert np.array_equal(a.slopes, b.slopes)
        assert report["verdict"] == expected.verdict
        assert report["version"] == expected.version == me.version
        assert report["after"]["loss"] == pytest.approx(expected.after.loss, abs=1e-5)


def test_what_was_learned_is_replayed_rolled_back_and_forgotten(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    store, data = tmp_path / "me", written(tmp_path, lines())
    words = bundles("llama"), "--store", store
    with Runner(library, bundles("llama"), store) as me:
        report = me.fit(lines(), 12, queries=4, rate=0.05)
    fits = library.run("history", *words)["fits"]
    assert [fit["verdict"] for fit in fits] == [report["verdict"]]
    again = tmp_path / "again.safetensors"
    told = library.run("replay", *words, "--steps", "7", "--out", again)
    with python(bundles("llama"), store) as me:
        (adapter,) = me.replay([7])
        me.load_adapter(again)
        assert np.array_equal(me.adapter.vector, adapter.vector)
        made = me.version
    assert told["steps"] == 7
    assert library.run("history", *words)["active"] == made
    library.run("rollback", *words, "--version", "0")
    assert library.run("info", *words)["version"] == 0
    library.run("forget", *words)
    assert library.run("history", *words)["versions"] == []
    assert "no such fit" in library.run("replay", *words, code=1)["error"]
    assert library.run("plan", *words, "--data", data)["steps"] > 0


def test_a_sealed_store_opens_with_its_key_on_both_sides(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    adapter, key = learned(bundles("llama"), tmp_path / "a.safetensors"), tmp_path / "key"
    words = bundles("llama"), "--store", tmp_path / "me"
    library.run("load", *words, "--adapter", adapter, "--key-file", key)
    with python(bundles("llama"), tmp_path / "me", key=FileKey(key)) as me:
        assert me.sealed
        assert me.version == 1
    assert "key" in library.run("info", *words, code=1)["error"]
    other = tmp_path / "other"
    other.write_bytes(bytes(32))
    other.chmod(0o600)
    assert "key" in library.run("info", *words, "--key-file", other, code=1)["error"]


def test_a_listener_ends_a_fit_with_a_verdict(library: Library, bundles: Bundles) -> None:
    with Runner(library, bundles("llama")) as me:
        report = me.fit(lines(), 50, stop_after=3)
    assert report["told"] == [1, 2, 3]
    assert report["steps"] == 3
    assert report["verdict"] in ("improved", "no improvement")


def uneven(count: int = 24) -> list[dict[str, Any]]:
    """Prompts and free responses of many lengths, so that every batch has another shape."""
    told = "green in the morning and slow or sad at night when rain fell on warm bread"
    words = told.split()
    return [
        {
            "prompt": " ".join(words[: 2 + (i * 7) % 13]),
            "response": " " + " ".join(words[-1 - (i * 5) % 11 :]),
        }
        for i in range(count)
    ]


ALLOCATING = [
    pytest.param("llama", lines(), {}, id="choices"),
    pytest.param("llama", free(), {}, id="free"),
    pytest.param("llama", uneven(), {"batch": 3, "queries": 5}, id="uneven"),
    pytest.param("lora", uneven() + lines() + several(), {}, id="several tasks"),
    pytest.param("gated", uneven() + lines() + several(), {"batch": 5}, id="routes"),
    pytest.param("gated", free() + lines(), {"gate": "learned"}, id="gate that learns"),
]


@pytest.mark.parametrize(("kind", "given", "hyper"), ALLOCATING)
def test_steps_after_the_first_allocate_nothing(
    library: Library,
    bundles: Bundles,
    tmp_path: Path,
    kind: str,
    given: list[dict[str, Any]],
    hyper: dict[str, Any],
) -> None:
    if library.sanitized:
        pytest.skip("sanitizers allocate by themselves")
    program = library.folder / "tests" / "test_allocations"
    words = [program, bundles(kind), written(tmp_path, given), json.dumps(hyper)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    counted = json.loads(done.stdout)
    assert counted["probes"] == 0
    assert counted["steps"] == [0] * len(counted["steps"])
