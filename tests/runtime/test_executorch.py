"""The ExecuTorch backend: programs exported once and reused, against ONNX Runtime and torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import write_manifest
from safetensors.numpy import load_file, save_file
from stub import COMMON, EXAMPLES

from dsa_edge.adapter import Adapter, AdapterSpec, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError, EngineError, UsageError, VerifyError
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Example, Personalizer, _measured
from dsa_edge.runtime._backend import open_engines
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._check_engine import check_engine
from dsa_edge.runtime._compare import compare_engines
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._engine import Context, Prefix
from dsa_edge.runtime._executorch_engine import ExecutorchEngine
from dsa_edge.runtime._objective import items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._plan import plan_chunks
from dsa_edge.runtime._prompts import no_prefix

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)

# XNNPACK's activations share one int8 scale a row, ONNX Runtime's one for 32 numbers: in a random
# model, whose outputs are small, that is a good part of what they say. That a program computes its
# layer to 1e-3 is what test_programs.py says.
SHARE = 0.35  # root mean square of the difference, of the standard deviation
NATS = 0.3


@pytest.fixture(scope="module")
def llama(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("both") / "llama.dsa"
    export(tiny_checkpoint("llama"), path, backends=("onnx", "executorch"), check=False)
    return path


@pytest.fixture(scope="module")
def gemma(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two forms of windows, norms on queries and keys, 8-bit weights, three invocation tokens."""
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("both") / "gemma.dsa"
    adapter = AdapterSpec("diagonal", rank=8, targets=("q", "o", "down"), split=0.3, invocation=3)
    backends = ("onnx", "executorch")
    export(tiny_checkpoint("gemma3"), path, backends, quantize="int8", adapter=adapter, check=False)
    return path


@pytest.fixture(scope="module", params=["llama", "gemma"])
def both(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.open(request.getfixturevalue(request.param))


def context(engine: Any, bundle: Bundle) -> Context:
    """The examples' prompts after their shared beginning, as the engine caches them."""
    me = Personalizer.open(bundle.path)
    encoded = Encoder(me._tokenizer, bundle.manifest).encode_all(EXAMPLES)
    chunks = plan_chunks(bundle.manifest, Budget(), False)
    return PromptCache(engine, items_of(encoded), chunks).context(np.arange(len(EXAMPLES)))


def lanes(bundle: Bundle, count: int = 3) -> np.ndarray:
    shape = (count, bundle.manifest.adapter_size)
    scale = 0.3 / bundle.manifest.slots[0].size ** 0.5
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def test_probes_and_choices_agree_with_onnx_runtime(both: Bundle) -> None:
    engines = OnnxEngine(both), ExecutorchEngine(both)
    contexts = [context(engine, both) for engine in engines]
    random = np.random.default_rng(1)
    targets = random.integers(0, 300, contexts[0].hidden.shape[:2])
    weights = np.zeros(targets.shape, dtype=np.float32)
    weights[:, -1] = 1
    vectors = lanes(both)
    onnx, executorch = (
        engine.probe(given, vectors, targets, weights)
        for engine, given in zip(engines, contexts, strict=True)
    )
    assert_alike(executorch, onnx)
    assert_alike(executorch[1:] - executorch[:1], onnx[1:] - onnx[:1])  # what the adapters change
    candidates = np.array([5, 17, 250])
    onnx, executorch = (
        engine.choose(given, vectors, candidates)
        for engine, given in zip(engines, contexts, strict=True)
    )
    assert_alike(executorch, onnx)


def assert_alike(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.sqrt(((found - expected) ** 2).mean()) < SHARE * expected.std()


def test_rows_beyond_the_bound_are_run_in_parts_with_the_same_result(llama: Path) -> None:
    bundle = Bundle.open(llama)
    engine = ExecutorchEngine(bundle)
    given, vectors, candidates = context(engine, bundle), lanes(bundle, 5), np.array([5, 17])
    whole = engine.choose(given, vectors, candidates)
    tokens = np.random.default_rng(0).integers(0, 300, (3, 11))
    no = no_prefix(bundle.manifest)
    filled = engine.prefill(no, tokens, tokens[:, :1], np.array([11, 4, 7]))
    object.__setattr__(engine.info, "rows", 5)
    np.testing.assert_allclose(engine.choose(given, vectors, candidates), whole, atol=1e-5)
    parts = engine.prefill(no, tokens, tokens[:, :1], np.array([11, 4, 7]))
    # Tokens in parts see earlier ones rounded to float16, in one piece as they are: an activation
    # may then fall to the other side of an int8 level.
    assert np.abs(parts.hidden - filled.hidden).max() < 0.2
    for example, length in enumerate((11, 4, 7)):
        own, other = parts.keys[:, example, :, :length], filled.keys[:, example, :, :length]
        assert np.abs(own - other).max() < 0.2
        assert np.abs(own - other).mean() < 0.01


def test_layers_that_come_and_go_give_the_same_bits(llama: Path) -> None:
    bundle = Bundle.open(llama)
    given = context(ExecutorchEngine(bundle), bundle)
    vectors, candidates = lanes(bundle), np.array([5, 17])
    whole = ExecutorchEngine(bundle).choose(given, vectors, candidates)
    one_at_a_time = ExecutorchEngine(bundle, layers_kept=1)
    np.testing.assert_array_equal(one_at_a_time.choose(given, vectors, candidates), whole)
    assert len(one_at_a_time._programs) == 1
    assert one_at_a_time.loaded_mb < ExecutorchEngine(bundle).loaded_mb
    with pytest.raises(UsageError, match="layers_kept is 0 .*expected at least 1 with backend"):
        Personalizer.open(llama, backend="executorch", layers_kept=0)
    with pytest.raises(UsageError, match="the other engine holds the whole base"):
        Personalizer.open(llama, layers_kept=2)


def test_a_memory_bound_takes_layers_from_storage(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(llama)
    engine, layers = ExecutorchEngine(bundle), bundle.manifest.n_layers
    layer, head = engine._held_mb()
    for mb, kept in ((head + 2.5 * layer, 2), (0, 1), (1e6, layers), (None, layers)):
        engine.keep_within(mb)
        assert engine.from_storage == layers - kept
        assert engine.loaded_mb == pytest.approx(head + kept * layer)
    vectors, reports = [], []
    for room in (None, head):
        monkeypatch.setattr(_measured, "room_for_base", lambda *_, room=room: room)
        with Personalizer.open(llama, backend="executorch") as me:
            reports.append(me.fit(EXAMPLES, Budget(steps=2)))
            vectors.append(me.replay([2])[0].vector)
    np.testing.assert_array_equal(*vectors)
    assert not [note for note in reports[0].notes if "storage" in note]
    slow = f"memory_mb holds the base but for {layers - 1} layers, which came from storage"
    assert slow in reports[1].notes


def test_each_engine_knows_its_golden_text_and_a_wrong_one_is_found(
    both: Bundle, spoiled: Path
) -> None:
    for engine in open_engines(both):
        found = check_engine(engine)
        assert found.tokens == len(both.manifest.golden.expected_ids)
        assert found.margin <= found.tolerance
        assert found.moved > 1e-5
    path = spoiled / "manifest.json"
    content = json.loads(path.read_text())
    golden = content["golden"]
    golden["expected_ids"] = [(i + 7) % 300 for i in golden["expected_ids"]]
    write_manifest(path, content)
    with pytest.raises(VerifyError, match="stage 'golden on executorch' .*below the likeliest"):
        check_engine(ExecutorchEngine(Bundle.open(spoiled, check_hashes=False)))


def test_decoding_continues_what_prefill_began(both: Bundle) -> None:
    """Prompt and tokens in one prefill, or token by token on a growing cache."""
    engine, split = ExecutorchEngine(both), both.manifest.split_layer
    prefix: Prefix = no_prefix(both.manifest)
    tokens = np.random.default_rng(0).integers(0, 300, (1, 9))
    whole = engine.prefill(prefix, tokens, tokens[:, :1], np.array([9]))
    adapter = np.zeros((1, both.manifest.adapter_size), dtype=np.float32)
    keys, values = whole.keys[:, :, :, :4], whole.values[:, :, :, :4]
    for at in range(4, 9):
        out = engine.decode(tokens[:, at : at + 1], prefix, keys, values, np.array([at]), adapter)
        keys = np.concatenate([keys, out.new_keys], 3)
        values = np.concatenate([values, out.new_values], 3)
    # float16 caches, and activations that fall to the other side of an int8 level
    np.testing.assert_allclose(keys[: split + 1], whole.keys[: split + 1], atol=0.1)
    assert out.logits.shape == (1, both.manifest.decoder["vocab_size"])


def test_the_same_fit_on_both_engines_learns_alike(llama: Path) -> None:
    examples = [
        Example(f"{COMMON}{word} {i}", " a" if i % 2 else " b", (" a", " b"))
        for i, word in enumerate(["warm", "green", "slow", "great"] * 8)
    ]
    reports = []
    for backend in ("onnx", "executorch"):
        with Personalizer.open(llama, backend=backend) as me:
            assert me.engine["backend"] == backend
            reports.append(me.fit(examples, Budget(steps=8), seed=3))
    onnx, executorch = reports
    assert abs(onnx.before.loss - executorch.before.loss) < NATS
    assert abs(onnx.after.loss - executorch.after.loss) < NATS
    assert {onnx.verdict, executorch.verdict} == {"improved"}


def test_both_engines_begin_to_answer_alike(both: Bundle) -> None:
    golden = both.manifest.golden
    texts = []
    for backend in ("onnx", "executorch"):
        with Personalizer.open(both.path, backend=backend) as me:
            texts.append(me.generate(golden.prompt, max_tokens=2))
    assert texts[0] == texts[1]


def test_an_adapter_of_one_engine_changes_the_answers_of_the_other_alike(
    llama: Path, tmp_path: Path
) -> None:
    file = tmp_path / "me.safetensors"
    bundle = Bundle.open(llama)
    save_adapter(file, Adapter(lanes(bundle)[0]), bundle.identity, bundle.manifest.adapter)
    found = {}
    for backend in ("onnx", "executorch"):
        with Personalizer.open(llama, backend=backend) as me:
            base, adapted = me.evaluate(EXAMPLES, [0, me.load_adapter(file)])
        found[backend] = base.loss, adapted.loss
    assert abs(found["onnx"][1] - found["onnx"][0]) > 0.02
    for onnx, executorch in zip(*found.values(), strict=True):
        assert abs(onnx - executorch) < NATS


def test_rows_beyond_what_was_exported_are_an_error_not_a_crash(llama: Path) -> None:
    bundle = Bundle.open(llama)
    engine = ExecutorchEngine(bundle)
    object.__setattr__(engine.info, "rows", 10**6)  # so that the engine does not cut them
    tokens = np.ones((8, 100), dtype=np.int64)
    with pytest.raises(EngineError, match="failed in layer 0 on 800 rows .*: pass fewer or"):
        engine.prefill(no_prefix(bundle.manifest), tokens, tokens[:, :1], np.full(8, 100))


def test_engines_are_compared_and_one_that_is_wrong_is_found(llama: Path, spoiled: Path) -> None:
    compared = compare_engines(*open_engines(Bundle.open(llama)))
    assert 0 < compared.difference < compared.tolerance
    assert compared.adapter_correlation > 0.8
    bundle = Bundle.open(spoiled)
    assert bundle.manifest.executorch is not None
    ends = spoiled / bundle.manifest.executorch.ends
    small = load_file(ends)
    save_file({**small, "final_norm": -small["final_norm"]}, ends)
    with pytest.raises(VerifyError, match=r"stage 'engines' .*: export the bundle again"):
        compare_engines(*open_engines(Bundle.open(spoiled, check_hashes=False)))


@pytest.fixture
def spoiled(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "copy.dsa"))


def rewrite(bundle: Path, **changed: Any) -> Bundle:
    """A bundle whose manifest says something else of its programs."""
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["executorch"] |= changed
    write_manifest(path, content)
    return Bundle.open(bundle, check_hashes=False)


def test_programs_of_another_version_are_refused(spoiled: Path) -> None:
    bundle = rewrite(spoiled, version="9.9.0")
    with pytest.raises(EngineError, match=r"made by ExecuTorch 9\.9\.0, installed is .*: install"):
        ExecutorchEngine(bundle)


def test_a_missing_operator_is_named_with_the_fix(spoiled: Path) -> None:
    bundle = rewrite(spoiled, operators=["dsa::unheard_of.out"])
    with pytest.raises(EngineError, match=r"lacks the operator dsa::unheard_of\.out: run `dsa"):
        ExecutorchEngine(bundle)


def test_a_damaged_program_is_an_error_at_load(spoiled: Path) -> None:
    bundle = Bundle.open(spoiled)
    program = spoiled / bundle.manifest.executorch.layers[0].program  # type: ignore[union-attr]
    program.write_bytes(b"\0" * 1000)
    engine = ExecutorchEngine(bundle)
    tokens = np.ones((1, 3), dtype=np.int64)
    with pytest.raises(EngineError, match="cannot load .*: export the bundle again"):
        engine.prefill(no_prefix(bundle.manifest), tokens, tokens[:, :1], np.array([3]))


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": 0},
        {"layers": []},
        {"ends": "../ends.safetensors"},
        {"head": {"program": "/etc/passwd", "data": "x", "frame": 0}},
        {"embedding": {"file": "executorch/head.ptd", "offset": -1, "rows": 2, "width": 2}},
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(spoiled: Path, changed: Any) -> None:
    with pytest.raises(BundleError, match="not a valid manifest"):
        rewrite(spoiled, **changed)


def test_bundles_without_programs_say_so(bundle: Path) -> None:
    with pytest.raises(BundleError, match="no ExecuTorch programs: export it with `--backend"):
        Personalizer.open(bundle, backend="executorch")
    with pytest.raises(UsageError, match="use one of auto, onnx, executorch"):
        Personalizer.open(bundle, backend="coreml")


def test_torch_is_imported_only_with_the_programs(bundle: Path, llama: Path) -> None:
    code = (
        "import sys; from dsa_edge.runtime import Personalizer;"
        "me = Personalizer.open(sys.argv[1], backend=sys.argv[2]); print('torch' in sys.modules)"
    )
    for path, backend, expected in ((llama, "auto", "False"), (llama, "executorch", "True")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), backend], capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr
