"""A pruned base in a bundle: smaller, verified, fitted by both engines, told by the verbs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import AdapterError
from dsa_edge.examples import Example
from dsa_edge.exporters import ExportReport, Pruning, export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import QuantizedWeight
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer
from dsa_edge.weights import read_frozen, stem_of

EXECUTORCH = bool(find_spec("executorch")) and library_path("dsa_executorch") is not None
BACKENDS = ("onnx", "executorch") if EXECUTORCH else ("onnx",)
SPEC = AdapterSpec(rank=8, targets=("q", "v", "down", "up"))
CHOICES = (" a", " b")
EXAMPLES = [
    Example(f"say {word} twice", CHOICES[i % 2], CHOICES)
    for i, word in enumerate(["bread", "rain", "film", "roof", "letter", "green"] * 3)
]


@pytest.fixture(scope="module")
def report(
    tiny_gguf: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> ExportReport:
    """40 % of a tiny Q4_1 model pruned, a KV group a layer among it; half of ranks and targets."""
    path = tmp_path_factory.mktemp("pruned") / "thin.dsa"
    pruning = Pruning(
        0.4, EXAMPLES, steps=4, batch=4, kv_groups=1, modules=0.25, ranks=0.5
    )  # fmt: skip
    return export(
        tiny_gguf("Q4_1"), path, BACKENDS, adapter=SPEC, accuracy_level=0, pruning=pruning
    )


def test_the_bundle_is_what_is_left_and_verified(report: ExportReport, bundle: Path) -> None:
    manifest = Bundle.open(report.bundle).manifest
    pruned, decoder = manifest.pruned, manifest.decoder
    assert pruned is not None
    assert pruned == report.pruned
    assert pruned.share == pytest.approx(0.4)  # one of 2 KV groups and one of 3 blocks: 20 % each
    assert (decoder["n_heads"], decoder["n_kv_heads"], decoder["ffn_width"]) == (2, 1, 64)
    assert {len(groups) for groups in pruned.kv_groups} == {1}
    assert len(manifest.adapter.targets) == 3
    assert manifest.adapter.rank == 4
    assert pruned.targets == SPEC.targets
    assert {len(kept) for kept in pruned.directions.values()} == {4}
    assert {check.stage for check in report.checks} >= {"logits", "probe", "golden"}
    size, before = (
        Bundle.open(path).manifest.files["onnx/base.onnx_data"].bytes
        for path in (report.bundle, bundle)
    )
    assert size < before - 3 * 2 * 6144 * 0.6  # 4 bits, scale and minimum: 0.625 bytes a weight


def test_its_weights_are_the_stored_bits(
    report: ExportReport, tiny_gguf: Callable[..., Path]
) -> None:
    source, pruned = open_checkpoint(tiny_gguf("Q4_1")), report.pruned
    assert pruned is not None
    arrays = read_frozen(Bundle.open(report.bundle))
    for layer, blocks in enumerate(pruned.ffn_blocks):
        before = source.weight(f"layers.{layer}.down")
        assert isinstance(before, QuantizedWeight)
        stem = stem_of(f"layers.{layer}.down")
        np.testing.assert_array_equal(arrays[f"{stem}.codes"], before.codes[:, list(blocks)])
        np.testing.assert_array_equal(arrays[f"{stem}.scales"], before.scales[:, list(blocks)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_engines_fit_it_and_use_what_was_learned(
    report: ExportReport, tmp_path: Path, backend: str
) -> None:
    with Personalizer.open(report.bundle, tmp_path / "me", backend, threads=1) as me:
        hyper = Hyperparameters(rate=0.1, queries=4, batch=4)
        done = me.fit(EXAMPLES, Budget(steps=6), hyperparameters=hyper)
        assert done.steps == 6
        assert all(np.isfinite(point.loss) for point in done.curve if point.loss is not None)
        (replayed,) = me.replay([6])
        assert np.abs(replayed.vector).max() > 0
        assert me.choose("say bread twice", CHOICES).text in CHOICES
        assert isinstance(me.generate("Rain fell", max_tokens=2), str)


def test_an_adapter_of_the_unpruned_base_is_refused_and_the_reverse(
    report: ExportReport, bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "me.safetensors"
    for saved, opened, got in (
        (bundle, report.bundle, "was trained on a base that is not pruned, this bundle has a base "
         "pruned by 40.0% "),
        (report.bundle, bundle, "was trained on a base pruned by 40.0% "),
    ):  # fmt: skip
        with Personalizer.open(saved, threads=1) as me:
            me.save_adapter(file)
        with Personalizer.open(opened, threads=1) as me:
            with pytest.raises(AdapterError, match=got):
                me.load_adapter(file)
            assert any("pruned" in reason for reason in me.is_compatible(file))


def test_verbs_tell_what_was_pruned(
    report: ExportReport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(report.bundle)]) == 0
    said = capsys.readouterr().out
    assert "40.0% of the layers' weights, by learned" in said
    assert "64 of 96 a layer are left" in said
    assert "1 of 2 a layer are left" in said
    assert main(["inspect", str(report.bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["pruned"]["ffn_blocks"]) == 3
