"""The ONNX engine on tiny bundles: caches, chunks, choices and generation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stub import COMMON, EXAMPLES, fixed_chunks

import dsa_edge
import dsa_edge.runtime
from dsa_edge.bundle import Bundle
from dsa_edge.errors import (
    AdapterError,
    BudgetError,
    EngineError,
    ExampleError,
    StoreError,
    UsageError,
)
from dsa_edge.manifest import Manifest
from dsa_edge.runtime import Adapter, Budget, Example, Personalizer, Sampling
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine

FREE = [Example(COMMON + "and", " the garden was green"), Example("He did", " not like it")]


@pytest.fixture(scope="module")
def me(bundle: Path) -> Personalizer:
    return Personalizer.open(bundle)


@pytest.fixture(scope="module", params=["core", "diagonal"])
def either(request: pytest.FixtureRequest, bundle: Path, other_bundle: Path) -> Personalizer:
    return Personalizer.open(bundle if request.param == "core" else other_bundle)


def objective(
    me: Personalizer, examples: list[Example], rows: int = 10_000, memory: int = 2**30
) -> Objective:
    encoded = Encoder(me._tokenizer, me.bundle.manifest).encode_all(examples)
    chunks = fixed_chunks(rows, memory)
    return Objective(
        me._engine, encoded, PromptCache(me._engine, items_of(encoded), chunks), chunks
    )


def adapters(me: Personalizer, count: int) -> np.ndarray:
    shape = (count, me.bundle.manifest.adapter_size)
    return (np.random.default_rng(0).standard_normal(shape) * 0.05).astype(np.float32)


def test_a_shared_beginning_changes_nothing_but_the_work(me: Personalizer) -> None:
    """The same example alone (no shared prefix) and among others that begin alike."""
    lanes = adapters(me, 2)
    together = objective(me, EXAMPLES)
    assert together._cache._prefix.length > 10
    losses = together(np.arange(len(EXAMPLES)), lanes).losses
    for index, example in enumerate(EXAMPLES):
        alone = objective(me, [example])(np.array([0]), lanes)
        # the prefix is read back from float16: relative errors of 2^-11 in keys and values
        np.testing.assert_allclose(alone.losses[:, 0], losses[:, index], atol=5e-3)


def test_a_long_beginning_is_run_in_parts(me: Personalizer) -> None:
    encoded = Encoder(me._tokenizer, me.bundle.manifest).encode_all(EXAMPLES)
    whole = objective(me, EXAMPLES)._cache._prefix
    for tokens in (5, 9, 30):
        parts = PromptCache(me._engine, items_of(encoded), fixed_chunks(tokens=tokens))._prefix
        assert parts.length == whole.length > 10
        # later parts read the keys of earlier ones from float16
        np.testing.assert_allclose(parts.keys, whole.keys, atol=5e-3)
        np.testing.assert_allclose(parts.values, whole.values, atol=5e-3)


def test_an_example_beyond_the_memory_bound_is_a_budget_error(me: Personalizer) -> None:
    encoded = Encoder(me._tokenizer, me.bundle.manifest).encode_all(FREE)
    chunks = replace(fixed_chunks(tokens=8), strict=True)
    with pytest.raises(BudgetError, match=r"has \d+ tokens, and memory_mb has room for 8"):
        PromptCache(me._engine, items_of(encoded), chunks)


def test_an_example_of_many_choices_is_learned_from_whole_or_not_at_all(me: Personalizer) -> None:
    """40 choices are 40 items, more than are cached between two looks at the clock."""
    choices = tuple(f" film {i}" for i in range(40))
    examples = [Example(f"He did {word}", choices[i], choices) for i, word in enumerate("abc")]
    report = me.fit(examples, Budget(seconds=1e-3))
    assert (report.examples, report.steps, report.verdict) == (1, 0, "no improvement")
    assert "1 of 3 examples" in report.notes[0]


def test_a_full_disk_is_a_clear_error(me: Personalizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(BudgetError, match=r"needs .* MB of disk"):
        objective(me, EXAMPLES, memory=0)


def test_labels_of_several_tokens_are_scored_as_sequences(me: Personalizer) -> None:
    choices = (" the quiet baker", " warm bread", " b")
    choice = me.choose("He sells", choices)
    assert sum(choice.probabilities) == pytest.approx(1, abs=1e-5)
    assert choice.text == choices[int(np.argmax(choice.probabilities))]
    single = objective(me, [Example("He sells", c) for c in choices])
    nats = single(np.arange(3), np.zeros((1, me.bundle.manifest.adapter_size), np.float32))
    counts = [len(me.encode(c)) for c in choices]
    scores = -nats.losses[0] * counts
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(choice.probabilities, expected, atol=2e-2)


def test_fit_works_on_every_kind_of_example(either: Personalizer, tmp_path: Path) -> None:
    long = [Example(e.prompt, r, (" warm bread", " b")) for e, r in
            zip(EXAMPLES, (" b", " warm bread") * 2, strict=True)]  # fmt: skip
    for examples in (EXAMPLES, FREE, long, [*EXAMPLES, *FREE]):
        with Personalizer.open(either.bundle.path) as user:
            report = user.fit(examples, Budget(steps=2))
        assert report.steps == 2
        assert np.isfinite(report.before.loss)


def test_an_adapter_changes_what_is_generated_and_greedy_repeats_itself(me: Personalizer) -> None:
    prompt = "The quiet baker opens early and"
    plain = me.generate(prompt, max_tokens=12)
    assert plain == me.generate(prompt, max_tokens=12)
    assert plain == "".join(me.stream(prompt, max_tokens=12))
    vector = adapters(me, 1)[0] * 20
    version = me._store.add_version(0, Adapter(vector), "loaded", 0, {})
    assert me.generate(prompt, max_tokens=12, version=version) != plain
    assert me.generate(prompt, max_tokens=12, version=0) == plain
    me.rollback(0)


def test_the_golden_prompt_gives_the_recorded_tokens(either: Personalizer) -> None:
    golden = either.bundle.manifest.golden
    text = either.generate(golden.prompt, max_tokens=len(golden.expected_ids))
    stops = either.bundle.manifest.tokenizer.eos_ids
    kept = [t for t in golden.expected_ids if t not in stops]
    if len(kept) == len(golden.expected_ids):
        assert text == either._tokenizer.decode(golden.expected_ids)


def test_sampling_follows_its_seed(me: Personalizer) -> None:
    texts = [me.generate("He", 12, Sampling(1.5, 0.9, seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    only_top = me.generate("He", 12, Sampling(1.0, 1e-9, 3))
    assert only_top == me.generate("He", 12)


def test_a_character_of_several_tokens_is_never_shown_in_half(me: Personalizer) -> None:
    ids = me.encode("é☂ x")
    assert len(ids) > 4
    pieces = list(me._tokenizer.stream(ids))
    assert "".join(pieces) == "é☂ x"
    assert all("�" not in piece for piece in pieces)


def test_prompts_of_any_length(me: Personalizer) -> None:
    assert isinstance(me.generate("", max_tokens=3), str)
    assert isinstance(me.generate("a", max_tokens=3), str)
    with pytest.raises(ExampleError, match="takes 128"):
        me.generate("warm bread " * 200, max_tokens=3)
    with pytest.raises(ExampleError, match="at most 128"):
        me.fit([Example("warm bread " * 200, " a", (" a", " b"))])


def test_wrong_calls_are_refused(me: Personalizer, bundle: Path) -> None:
    for call in (
        lambda: me.choose("x", [" a"]),
        lambda: me.choose("x", [" a", " a"]),
        lambda: me.generate("x", max_tokens=0),
        lambda: Sampling(temperature=-1),
        lambda: Sampling(top_p=0),
        lambda: Budget(steps=0),
        lambda: Personalizer.open(bundle, backend="tflite"),
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(StoreError, match="no version 9"):
        me.rollback(9)
    with pytest.raises(ExampleError):
        me.evaluate([])


def test_a_store_belongs_to_one_bundle(bundle: Path, other_bundle: Path, tmp_path: Path) -> None:
    Personalizer.open(bundle, tmp_path / "me").close()
    with pytest.raises(AdapterError, match="belongs to bundle"):
        Personalizer.open(other_bundle, tmp_path / "me")


def test_a_store_that_is_no_database_and_one_that_cannot_be_made(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "user.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Personalizer.open(bundle, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be opened or made"):
        Personalizer.open(bundle, tmp_path / "file" / "me")


def test_a_graph_that_the_engine_cannot_read_is_an_engine_error(bundle_copy: Path) -> None:
    (bundle_copy / "onnx/choose.onnx").write_bytes(b"\x08\x0a" + b"x" * 200)
    bundle = Bundle(bundle_copy, Manifest.read(bundle_copy / "manifest.json"))
    with pytest.raises(EngineError, match="cannot load"):
        OnnxEngine(bundle)._load("choose")


def test_the_runtime_imports_neither_torch_nor_the_exporters() -> None:
    code = (
        "import sys, dsa_edge.runtime, dsa_edge.cli\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxscript', 'onnxruntime', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_public_names_are_pinned() -> None:
    assert dsa_edge.runtime.__all__ == sorted(dsa_edge.runtime.__all__)
    assert set(dsa_edge.runtime.__all__) == {
        "Adapter", "Budget", "Choice", "Conditions", "DataGate", "Device", "DeviceState", "Engine",
            "Evaluation", "Example", "FileKey", "Forgotten", "Gain",
        "Hyperparameters", "KeyProvider", "KeyringKey", "Labels", "LinuxDevice", "PassphraseKey",
        "Personalizer", "Plan", "Privacy", "Progress", "Report", "Run", "Sampling", "SharedBase",
        "Spent", "Version", "read_examples",
    }  # fmt: skip
    assert dsa_edge.__all__ == ["__version__", "export"]
