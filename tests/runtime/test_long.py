"""Long prompts part by part, by full and by shifted sparse attention, and within a memory bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from manifests import edit_manifest
from stub import COMMON, EXAMPLES, StubEngine, fixed_chunks

from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import BudgetError, BundleError
from dsa_edge.manifest import Manifest
from dsa_edge.runtime import Budget, Example, Personalizer, _measured
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._memory import resident_mb
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._plan import MB, Chunks, plan_chunks
from dsa_edge.runtime._prompts import FULL, Cache, group_of, no_prefix, run_prompt
from dsa_edge.runtime._store import Store

GROUP = 16
CHOICES = (" a", " b")
LONG = [
    Example(COMMON * 3 + word, CHOICES[i % 2], CHOICES)
    for i, word in enumerate(["warm", "and the garden was", "rain", "she wrote 12 letters in"] * 3)
]
HALF = 5e-3  # keys are read back from float16: relative errors of 2^-11, over three layers


@pytest.fixture(scope="module")
def grouped(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("grouped") / "tiny.dsa"
    report = export(tiny_checkpoint("llama"), path, accuracy_level=0, attention_group=GROUP)
    assert report.checks[-1].stage == "grouped"
    return path


@pytest.fixture(scope="module")
def engine(grouped: Path) -> OnnxEngine:
    return OnnxEngine(Bundle.open(grouped))


def tokens(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(3, 300, count)


def caches(cache: Cache) -> np.ndarray:
    return np.stack([cache.keys[:, 0, :, : cache.length], cache.values[:, 0, :, : cache.length]])


@pytest.mark.parametrize("room", [4, 9, 30, 400])
@pytest.mark.parametrize("length", [1, 3, 31, 90])
def test_parts_of_any_size_give_what_the_whole_gives(
    engine: OnnxEngine, room: int, length: int
) -> None:
    ids, tail, nothing = tokens(length), tokens(2), no_prefix(engine.bundle.manifest)
    whole = engine.prefill(nothing, ids[None], tail[None], np.array([length]))
    cache, hidden = run_prompt(engine, nothing, ids, tail, fixed_chunks(tokens=room))
    assert cache.length == length
    np.testing.assert_allclose(caches(cache)[0], whole.keys[:, 0], atol=HALF)
    np.testing.assert_allclose(caches(cache)[1], whole.values[:, 0], atol=HALF)
    np.testing.assert_allclose(hidden, whole.hidden, atol=HALF)


@pytest.mark.parametrize("room", [4, 9, 400])
@pytest.mark.parametrize("length", [3, 8, 16, 17, 90])  # half a group, one, and beyond
def test_sparse_parts_need_the_last_group_alone(engine: OnnxEngine, room: int, length: int) -> None:
    """All at once on no prefix, and part by part on top of at most a group."""
    ids, tail, nothing = tokens(length), tokens(2), no_prefix(engine.bundle.manifest)
    whole = engine.prefill_grouped(nothing, 0, ids[None], GROUP)
    seen: list[int] = []

    class Watched(OnnxEngine):
        def prefill_grouped(self, prefix, start, prompt, group):  # type: ignore[no-untyped-def]
            seen.append(prefix.length * (group == GROUP))
            return super().prefill_grouped(prefix, start, prompt, group)

    watched = Watched(engine.bundle)
    cache, hidden = run_prompt(watched, nothing, ids, tail, fixed_chunks(tokens=room), GROUP)
    assert max(seen) <= GROUP
    np.testing.assert_allclose(caches(cache)[0], whole.keys[:, 0], atol=HALF)
    np.testing.assert_allclose(caches(cache)[1], whole.values[:, 0], atol=HALF)
    after = engine.prefill_grouped(cache.prefix(), 0, tail[None], FULL)
    np.testing.assert_array_equal(hidden, after.hidden)  # what follows looks at all of the prompt
    full, _ = run_prompt(engine, nothing, ids, tail, fixed_chunks(tokens=room))
    difference = np.abs(caches(full).astype(np.float32) - caches(cache)).max()
    assert difference < HALF if length <= GROUP // 2 else difference > 0.05


def objective(
    me: Personalizer, examples: list[Example], group: int | None, chunks: Chunks
) -> Objective:
    encoded = Encoder(me._tokenizer, me.bundle.manifest).encode_all(examples)
    cache = PromptCache(me._engine, items_of(encoded), chunks, group=group)
    return Objective(me._engine, encoded, cache, chunks)


@pytest.mark.parametrize("group", [None, GROUP])
def test_a_shared_beginning_and_little_memory_change_nothing_but_the_work(
    grouped: Path, group: int | None
) -> None:
    with Personalizer.open(grouped) as me:
        lanes = np.random.default_rng(0).standard_normal((2, me.adapter.vector.size)) * 0.05
        lanes, some = lanes.astype(np.float32), LONG[:3]
        together = objective(me, some, group, fixed_chunks())(np.arange(3), lanes).losses
        small = objective(me, some, group, fixed_chunks(tokens=20))(np.arange(3), lanes).losses
        np.testing.assert_allclose(small, together, atol=2 * HALF)
        for index, example in enumerate(some):
            alone = objective(me, [example], group, fixed_chunks())(np.array([0]), lanes).losses
            np.testing.assert_allclose(alone[:, 0], together[:, index], atol=2 * HALF)


def test_a_fit_learns_from_long_prompts_by_sparse_attention_and_says_so(grouped: Path) -> None:
    with Personalizer.open(grouped) as me:
        report = me.fit(LONG, Budget(steps=2))
        assert f"shifted sparse attention in groups of {GROUP}" in report.notes[0]
        assert set(me._engine._sessions) & {"prefill", "prefill_grouped"} == set()  # type: ignore[attr-defined]
        assert me.plan(LONG, Budget(steps=2)).steps == 2
        me.sparse = False
        assert not any("sparse" in note for note in me.fit(LONG, Budget(steps=2)).notes)
        me.sparse = True
        short = [Example("a" + w, CHOICES[i % 2], CHOICES) for i, w in enumerate("xyzwabcdefgh")]
        assert not any("sparse" in note for note in me.fit(short, Budget(steps=2)).notes)


def test_what_is_evaluated_and_chosen_sees_all_of_the_prompt(grouped: Path, bundle: Path) -> None:
    """The same base without groups says the same."""
    with Personalizer.open(grouped) as me, Personalizer.open(bundle) as plain:
        (mine,), (other,) = me.evaluate(LONG), plain.evaluate(LONG)
        assert mine.loss == pytest.approx(other.loss, abs=1e-4)
        prompt = LONG[0].prompt
        assert me.choose(prompt, CHOICES) == plain.choose(prompt, CHOICES)
        assert me.generate(prompt, 5) == plain.generate(prompt, 5)


def test_an_engine_without_sparse_attention_says_so(grouped: Path) -> None:
    """As ExecuTorch: full attention, and a note with what would be faster."""
    stub = StubEngine(grouped)
    with Personalizer(stub, Store(None, stub.bundle.identity, None)) as me:
        notes = me.fit(LONG, Budget(steps=1)).notes
    assert "longer than the attention group of 16 tokens, and stub has full attention" in notes[0]


def test_memory_that_cannot_hold_a_long_prompt_is_told_with_what_would(grouped: Path) -> None:
    """On a model whose keys and values are as large as those of a real one."""
    made = Bundle.open(grouped).manifest
    wide = replace(made, decoder={**made.decoder, "n_kv_heads": 32, "n_heads": 32, "head_dim": 64})
    room = resident_mb() + 100
    pattern = r"a prompt of 8000 tokens needs about (\d+) MB: raise memory_mb or shorten"
    with pytest.raises(BudgetError, match=pattern) as caught:
        plan_chunks(wide, Budget(memory_mb=room), False, longest=8000)
    needed = float(str(caught.value).split("about ")[1].split(" MB")[0])
    kept = 8000 * 4 * made.n_layers * 32 * 64 / MB
    assert needed > room + kept  # all of it in float16, and once more for a run to read
    chunks = plan_chunks(wide, Budget(memory_mb=needed + 4), False, longest=8000)
    assert chunks.prefill_tokens(8000) >= 16
    # By sparse attention a run reads no more than a group.
    assert plan_chunks(wide, Budget(memory_mb=needed - kept), False, longest=8000, group=64)


class Stored(StubEngine):
    """Twelve layers of 40 MB, that come from storage where memory has no room for them."""

    def keep_within(self, mb: float | None) -> None:
        self.loaded_mb = 40 * max(1, min(12, 12 if mb is None else int(mb / 40)))


@pytest.mark.parametrize("longest", [40, 3000, 8000])
def test_more_memory_is_never_refused_where_less_was_enough(grouped: Path, longest: int) -> None:
    """Layers give way to a long prompt, and what a refusal asks for is enough."""
    stub = Stored(grouped)
    made = stub.bundle.manifest
    wide = replace(made, decoder={**made.decoder, "n_kv_heads": 32, "n_heads": 32, "head_dim": 64})
    stub.bundle = replace(stub.bundle, manifest=wide)
    base, enough, asked = resident_mb(), [], set[float]()
    with Personalizer(stub, Store(None, stub.bundle.identity, None)) as me:
        for more in range(20, 900, 10):
            try:
                me._planned(Budget(memory_mb=base + more), False, longest)
                enough.append(more)
            except BudgetError as error:
                asked.add(float(str(error).split("about ")[1].split(" MB")[0]) - base)
    assert enough == list(range(enough[0], 900, 10))
    assert max(asked) - min(asked) < 5  # whatever the bound was
    assert enough[0] - 15 < min(asked) < enough[0] + 5


@pytest.mark.parametrize(
    ("longest", "tail", "named"),
    [
        (9, 9, "this model needs"),
        (9000, 10, "a prompt of 9000 tokens needs"),
        (10, 9000, "a response of 9000 tokens needs"),
    ],
)
def test_what_memory_is_too_little_for_is_named(
    grouped: Path, longest: int, tail: int, named: str
) -> None:
    made = Bundle.open(grouped).manifest
    with pytest.raises(BudgetError, match=named):
        plan_chunks(made, Budget(memory_mb=1), False, longest=longest, tail=tail)


@pytest.mark.parametrize("verb", ["choose", "generate", "evaluate"])
def test_memory_bounds_hold_for_every_verb(grouped: Path, verb: str) -> None:
    with Personalizer.open(grouped) as me:
        calls: dict[str, Callable[[Budget], object]] = {
            "choose": lambda bound: me.choose(LONG[0].prompt, CHOICES, budget=bound),
            "generate": lambda bound: me.generate(LONG[0].prompt, 3, budget=bound),
            "evaluate": lambda bound: me.evaluate(LONG, budget=bound),
        }
        assert calls[verb](Budget(memory_mb=resident_mb() + 100))
        assert "prefill" not in me._engine._sessions  # type: ignore[attr-defined]  # the base once
        with pytest.raises(BudgetError, match="memory_mb is 5, .*raise memory_mb"):
            calls[verb](Budget(memory_mb=5))


def test_few_long_examples_are_evaluated_at_a_time(
    grouped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, real = list[int](), _measured.PromptCache

    def made(engine, items, *rest):  # type: ignore[no-untyped-def]
        sizes.append(len(items))
        return real(engine, items, *rest)

    monkeypatch.setattr(_measured, "PromptCache", made)
    with Personalizer.open(grouped) as me:
        (whole,) = me.evaluate(LONG)
        monkeypatch.setattr(_measured, "EVALUATED_BYTES", 5_000)
        (parts,) = me.evaluate(LONG)
    assert sizes[0] == sum(sizes[1:]) == len(LONG)
    assert len(sizes) > 3
    assert parts.loss == pytest.approx(whole.loss, abs=HALF)


@pytest.mark.parametrize("wrong", [0, -4, 7, "16", True, 1.0])
def test_a_group_that_no_export_writes_is_refused(
    grouped: Path, tmp_path: Path, wrong: object
) -> None:
    copy = tmp_path / "manifest.json"
    copy.write_bytes((grouped / "manifest.json").read_bytes())
    edit_manifest(copy, lambda content: content["decoder"].update(attention_group=wrong))
    with pytest.raises(BundleError, match=r"group is .*, expected an even number .*export"):
        group_of(Manifest.read(copy))


def test_the_command_line_bounds_memory_and_turns_sparse_attention_off(
    grouped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = ["--prompt", EXAMPLES[0].prompt]
    assert main(["generate", str(grouped), *prompt, "--memory-mb", "5", "--json"]) == 1
    assert "raise memory_mb" in capsys.readouterr().out
    data = tmp_path / "data.jsonl"
    data.write_text(
        "\n".join(f'{{"prompt": "{COMMON * 3}{w}", "response": " a"}}' for w in "abcdefghijkl")
    )
    fit = ["personalize", str(grouped), "--data", str(data), "--store", str(tmp_path / "me")]
    assert main([*fit, "--steps", "1", "--json"]) == 0
    assert "sparse attention" in capsys.readouterr().out
    assert main([*fit, "--steps", "1", "--full-attention", "--json"]) == 0
    assert "sparse attention" not in capsys.readouterr().out
