"""Adapters of several blocks, from export to text: what a user of a gate would notice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from stub import StubEngine, fixed_chunks

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.bundle import Bundle, hash_file
from dsa_edge.clusters import clustered
from dsa_edge.errors import AdapterError, PrivacyError, VerifyError
from dsa_edge.exporters import verify
from dsa_edge.gate import Gate, Route, route_notes
from dsa_edge.manifest import FileEntry, Manifest
from dsa_edge.runtime import Budget, Example, Personalizer, Privacy
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Item
from dsa_edge.runtime._engine import Context, Floats, Ints, Prefilled, Prefix
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._store import Store

CHOICES = (" a", " b")
RAIN = "Rain fell on the roof all night, and the garden was green: "
FILM = "What a great story, the children laughed and asked for another one! "
WORDS = (
    "bread", "film", "letters", "green", "slow", "night", "story", "street", "early", "warm",
    "baker", "opens", "sells", "whole", "wrote", "posted", "last", "long", "sadly", "terrible",
)  # fmt: skip


@pytest.fixture(scope="module")
def gated(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks, one of which serves a prompt; verified, the stage for routes included."""
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("gated") / "two.dsa"
    spec = AdapterSpec("core", rank=8, targets=("q", "v", "down"), blocks=2)
    report = export(tiny_checkpoint("llama"), path, adapter=spec, accuracy_level=0)
    assert "routes" in [check.stage for check in report.checks]
    return path


def mixed() -> list[Example]:
    """Two tasks that contradict each other: the same words, with the opposite answers."""
    made = []
    for number, word in enumerate(WORDS * 3):
        right = ord(word[-1]) % 2  # of which the last token tells
        made.append(Example(f"{RAIN}{number} {word}", CHOICES[right], CHOICES))
        made.append(Example(f"{FILM}{number} {word}", CHOICES[1 - right], CHOICES))
    return made


class Tasks(StubEngine):
    """Scores a prompt's last word by the cores of the blocks that serve it; pools what tokens say.

    With one block there is one opinion of a word, whatever the task.
    """

    def __init__(self, bundle: Path) -> None:
        super().__init__(bundle)
        manifest = self.bundle.manifest
        vocabulary, width = manifest.decoder["vocab_size"], manifest.decoder["width"]
        random = np.random.default_rng(1)
        self._meaning = random.standard_normal((vocabulary, width)).astype(np.float32)
        blocks, size = manifest.adapter.blocks, manifest.slots[0].size
        own = np.arange(manifest.adapter_size) // size % blocks
        self._own = own == np.arange(blocks)[:, None]  # (N, n)

    def prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        made = super().prefill(prefix, prompt, response, lengths)
        first, position = int(prefix.length == 0), np.arange(prompt.shape[1])
        valid = (position >= first) & (position < lengths[:, None])
        states = self._meaning[prompt] * valid[..., None]
        pooled = (states.sum(1) / np.maximum(lengths - first, 1)[:, None]).astype(np.float32)
        return replace(made, pooled=pooled)

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        tokens = context.hidden[:, -1, 0].astype(int)
        route = context.route or Route.first(len(tokens), self.bundle.manifest.adapter.active)
        weight = np.zeros((len(tokens), len(self._own)))
        np.put_along_axis(weight, route.index, route.weight, 1)
        directions = self._directions[tokens] * (weight @ self._own)
        margin = adapter.astype(np.float64) @ directions.T * 8
        scores = np.stack([margin, -margin], -1)
        return (scores - np.logaddexp(scores[..., :1], scores[..., 1:])).astype(np.float32)


def stub(bundle: Path, folder: Path | None = None) -> Personalizer:
    engine = Tasks(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def test_a_gate_serves_two_tasks_where_one_block_cannot(gated: Path, bundle: Path) -> None:
    examples = mixed()
    me, alone = stub(gated), stub(bundle)
    report = me.fit(examples, Budget(steps=150))
    assert report.verdict == "improved"
    assert report.routes == (60, 60)
    assert report.notes == ()
    assert report.evenness == 1.0
    first, second = sorted(report.served_examples)
    assert (first, second) == ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))  # one task each
    alone.fit(examples, Budget(steps=150))
    found, one = me.evaluate(examples)[0], alone.evaluate(examples)[0]
    assert found.accuracy is not None
    assert one.accuracy is not None
    assert found.accuracy >= 0.9
    assert one.accuracy <= 0.65
    gate = me.adapter.gate
    assert gate is not None
    assert gate.served == (60, 60)
    for task, block in zip((RAIN, FILM), served(me, gate), strict=True):
        for word in WORDS[:5]:  # a new prompt goes where its task does
            assert served_alone(me, gate, f"{task}99 {word}") == block
    right = [me.choose(e.prompt, CHOICES).text == e.response for e in examples[:20]]
    assert np.mean(right) >= 0.9


def served(me: Personalizer, gate: Gate) -> list[int]:
    blocks = [served_alone(me, gate, f"{task}7 warm") for task in (RAIN, FILM)]
    assert sorted(blocks) == [0, 1]
    return blocks


def served_alone(me: Personalizer, gate: Gate, prompt: str) -> int:
    objective = me._objective(me._encoder.encode_all([Example(prompt, " a", CHOICES)]), Budget())
    objective.route_by(gate)
    assert objective.routes is not None
    return int(objective.routes.index[0, 0])


def test_versions_keep_their_gates(gated: Path, tmp_path: Path) -> None:
    with stub(gated, tmp_path / "me") as me:
        assert me.fit(mixed(), Budget(steps=10)).version == 1
        first = me.adapter
        assert me.fit(mixed()[:100], Budget(steps=60)).version == 2
        second = me.adapter
        assert first.gate is not None
        assert second.gate is not None
        np.testing.assert_array_equal(first.gate.table, second.gate.table)  # a gate stays
        assert (first.gate.served, second.gate.served) == ((60, 60), (50, 50))
        me.save_adapter(tmp_path / "saved")
        me.rollback(0)
        assert me.adapter.gate is None
        me.rollback(1)
    with stub(gated, tmp_path / "me") as me:
        back = me.adapter
        assert back.gate is not None
        np.testing.assert_array_equal(back.gate.table, first.gate.table)
        np.testing.assert_array_equal(back.vector, first.vector)
        assert back.gate.served == (60, 60)
        assert me.is_compatible(tmp_path / "saved") == ()
        assert me.load_adapter(tmp_path / "saved") == 3
        loaded = me.adapter.gate
        assert loaded is not None
        assert loaded.served == (50, 50)


def test_journals_replay_to_the_bit_with_their_gate(gated: Path, tmp_path: Path) -> None:
    with stub(gated, tmp_path / "me") as me:
        report = me.fit(mixed(), Budget(steps=20))
        (again,) = me.replay([me.history()[-1].steps])
        assert report.version == 1
        np.testing.assert_array_equal(again.vector, me.adapter.vector)
        assert again.gate is not None
        assert me.adapter.gate is not None
        np.testing.assert_array_equal(again.gate.table, me.adapter.gate.table)
        assert me.evaluate(mixed(), [again]) == me.evaluate(mixed())


def test_a_fit_that_was_interrupted_leaves_its_gate_with_its_steps(
    gated: Path, tmp_path: Path
) -> None:
    def stop(progress: Any) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    with stub(gated, tmp_path / "me") as me, pytest.raises(KeyboardInterrupt):
        me.fit(mixed(), Budget(steps=20), on_step=stop)
    with stub(gated, tmp_path / "me") as me:
        (adapter,) = me.replay([5])
        assert adapter.gate is not None
        assert me.use_adapter(adapter) == 1
        assert me.evaluate(mixed())[0].loss < me.evaluate(mixed(), [0])[0].loss


def test_blocks_that_learned_are_of_no_use_without_their_gate(gated: Path) -> None:
    me = stub(gated)
    size = me.bundle.manifest.adapter_size
    lost = Adapter(np.ones(size, np.float32))
    width = me.bundle.manifest.decoder["width"]
    other = Gate(np.zeros((3, width), np.float32), np.zeros(3, np.float32))
    for adapter in (lost, replace(lost, gate=other)):
        with pytest.raises(AdapterError, match="this bundle wants a gate of 2 blocks over 64"):
            me.use_adapter(adapter)
        with pytest.raises(AdapterError, match="this bundle wants a gate of 2 blocks over 64"):
            me.evaluate(mixed(), [adapter])


def test_private_prompts_make_no_gate(gated: Path) -> None:
    me = stub(gated)
    many = [replace(e, prompt=f"{e.prompt} {i}") for i in range(4) for e in mixed()]
    with pytest.raises(PrivacyError, match="a gate would be made of the private prompts"):
        me.fit(many, Budget(steps=2), privacy=Privacy(8.0, 1e-4))
    me.fit(mixed(), Budget(steps=30))
    report = me.fit(many, Budget(steps=2), privacy=Privacy(8.0, 1e-4))
    assert report.routes == ()  # how many go where would tell of them


def test_collapse_and_idle_blocks_are_told(gated: Path) -> None:
    report = stub(gated).fit(
        [Example("the same", c, CHOICES) for c in CHOICES] * 5, Budget(steps=2)
    )
    assert report.routes == (10, 0)
    assert report.notes[-2].startswith("block 0 serves 10 of 10 prompts, so the gate has little")
    assert report.notes[-1] == "block 1 serves none of the prompts and learned nothing"
    assert route_notes((50, 40, 10), 100) == ()
    uneven = route_notes((89, 5, 2, 1, 1, 1, 1, 1), 101)
    assert "of the entropy that they would have if blocks served alike" in uneven[0]
    assert route_notes((), 100) == ()


def test_clusters_are_found_whatever_single_numbers_say() -> None:
    random = np.random.default_rng(3)
    centres = random.standard_normal((3, 64))
    task = np.repeat([0, 1, 2], [60, 40, 20])
    states = centres[task] + 0.3 * random.standard_normal((120, 64))
    states[:, 5] += 900 * random.random(120)  # as language models have some
    states[:, 6] = 40
    gate = clustered(states.astype(np.float32), 3, seed=0)
    routes = gate.route(states.astype(np.float32), 1)
    assert routes.index[:, 0].tolist() == task.tolist()  # the largest first
    again = clustered(states.astype(np.float32), 3, seed=0)
    np.testing.assert_array_equal(again.table, gate.table)
    few = clustered(states[:2].astype(np.float32), 4, seed=0)
    assert sum(few.route(states[:2].astype(np.float32), 1).served(4)) == 2


@pytest.mark.parametrize("rows", [400, 9])
def test_a_prompt_has_the_same_route_alone_and_behind_a_shared_beginning(
    gated: Path, rows: int
) -> None:
    opened = Bundle.open(gated, check_hashes=False)
    engine = OnnxEngine(opened)
    me = Personalizer(engine, Store(None, opened.identity))
    shared = "She wrote 12 letters in 2024 and posted the last one on day 365. "
    examples = [Example(shared + text, " a", CHOICES) for text in (RAIN, FILM, "Warm bread")]
    items: list[Item] = [e.items[0] for e in me._encoder.encode_all(examples)]
    together = PromptCache(engine, items, fixed_chunks(tokens=rows))
    assert together._prefix.length > 10
    alone = np.stack([PromptCache(engine, [i], fixed_chunks()).pooled[0] for i in items])
    scale = np.abs(alone).mean()
    np.testing.assert_allclose(together.pooled, alone, atol=0.01 * scale, rtol=0.01)
    assert np.abs(alone[0] - alone[1]).mean() > 0.1 * scale


@pytest.mark.parametrize(
    ("method", "stage"), [("probe", "probe"), ("choose", "choose"), ("decode", "logits")]
)
def test_verify_finds_a_graph_that_does_not_follow_its_route(
    gated: Path, tmp_path: Path, method: str, stage: str
) -> None:
    bundle = Path(shutil.copytree(gated, tmp_path / "copy.dsa"))
    path = bundle / "onnx" / f"{method}.onnx"
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        node.input[:] = ["nowhere" if name == "route_index" else name for name in node.input]
    zero = onnx.numpy_helper.from_array(np.array(0), "zero")
    model.graph.initializer.append(zero)
    first = onnx.helper.make_node("Mul", ["route_index", "zero"], ["nowhere"])
    model.graph.node.insert(0, first)
    path.write_bytes(model.SerializeToString())
    manifest = Manifest.read(bundle / "manifest.json")
    manifest.files[f"onnx/{method}.onnx"] = FileEntry(hash_file(path), path.stat().st_size)
    manifest.write(bundle / "manifest.json")
    with pytest.raises(VerifyError, match=f"stage '{stage}'"):
        verify(bundle)
