"""Export: the bundle appears whole or not at all, and does what its model does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from manifests import write_manifest

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle, hash_file
from dsa_edge.errors import ExportError, UsageError, VerifyError
from dsa_edge.exporters import export, verify
from dsa_edge.exporters.adapters import Route
from dsa_edge.exporters.adapters.core import Core
from dsa_edge.exporters.methods import METHODS
from dsa_edge.exporters.subspace import truncated_svd


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (48, 48)])
def test_truncated_svd_is_the_best_approximation_of_its_rank(shape: tuple[int, int]) -> None:
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    us, v = truncated_svd(w, 8)
    u, s, vh = torch.linalg.svd(w, full_matrices=False)
    best = (u[:, :8] * s[:8]) @ vh[:8]
    torch.testing.assert_close(us @ v, best, atol=1e-4, rtol=0)  # float64 inside, float32 out
    torch.testing.assert_close(v @ v.T, torch.eye(8), atol=1e-5, rtol=0)
    assert (v.gather(1, v.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("kind", ["core", "diagonal"])
def test_blocks_add_their_product_lane_by_lane(kind: str) -> None:
    random = torch.Generator().manual_seed(1)
    u, v = torch.randn(10, 3, generator=random).half(), torch.randn(3, 6, generator=random).half()
    shape = (3, 3) if kind == "core" else (3,)
    block = Core("q", {"": shape}, Core.factors(u, v))
    x, base = torch.randn(2, 4, 5, 6, generator=random), torch.randn(2, 4, 5, 10, generator=random)
    parameters = torch.randn(2, block.size, generator=random)
    route = Route.ungated(torch.ones(4, 5, dtype=torch.bool))
    y = block.add(x, base, parameters, route)
    for lane in range(2):
        own = parameters[lane]
        core = own.view(3, 3) if kind == "core" else torch.diag(own)
        dense = u.float() @ core @ v.float()
        torch.testing.assert_close(y[lane], base[lane] + x[lane] @ dense.T, atol=1e-4, rtol=1e-4)
    assert torch.equal(block.add(x, base, torch.zeros(2, block.size), route), base)


def test_the_bundle_lists_what_it_holds(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    assert set(manifest.methods) == set(METHODS)
    assert manifest.adapter_size == 2 * 7 * 256  # two layers of seven targets
    assert manifest.base.name
    assert len(manifest.golden.expected_ids) == 8
    on_disk = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert on_disk == {*manifest.files, "manifest.json"}
    for file, inputs, outputs in manifest.methods.values():
        graph = onnx.load(bundle / file, load_external_data=False).graph
        assert [i.name for i in graph.input] == [t.name for t in inputs]
        assert [o.name for o in graph.output] == [t.name for t in outputs]


def test_both_bundles_verify_on_demand(bundle: Path, other_bundle: Path) -> None:
    for path in (bundle, other_bundle):
        checks = {check.stage: check for check in verify(path)}
        assert checks["probe"].measured <= 0.02
        assert checks["adapter"].measured > 1e-5


def test_weights_that_were_exchanged_are_found_even_with_a_matching_hash(
    bundle_copy: Path,
) -> None:
    data = bundle_copy / "onnx/base.onnx_data"
    raw = np.fromfile(data, dtype=np.uint8)
    raw[: len(raw) // 4] = raw[: len(raw) // 4][::-1]  # embedding and first layers
    raw.tofile(data)
    with pytest.raises(VerifyError, match="'files'"):
        verify(bundle_copy)
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["files"]["onnx/base.onnx_data"]["sha256"] = hash_file(data)
    write_manifest(bundle_copy / "manifest.json", manifest)
    with pytest.raises(VerifyError):  # the identity no longer matches
        verify(bundle_copy)


def test_a_failed_stage_names_itself_and_leaves_nothing(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dsa_edge.exporters._export.write_graphs", full)
    with pytest.raises(ExportError, match=r"stage 'graphs' \(No space left"):
        export(tiny_checkpoint("llama"), tmp_path / "x.dsa")

    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("dsa_edge.exporters._export.write_graphs", broken)
    with pytest.raises(ExportError, match=r"stage 'graphs'.*boom"):
        export(tiny_checkpoint("llama"), tmp_path / "x.dsa")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_replaced_only_when_asked_and_never_lost(
    bundle_copy: Path, tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Bundle.open(bundle_copy).identity
    with pytest.raises(UsageError, match="--force"):
        export(tiny_checkpoint("llama"), bundle_copy)

    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("dsa_edge.exporters._export.write_graphs", broken)
    with pytest.raises(ExportError):
        export(tiny_checkpoint("llama"), bundle_copy, overwrite=True)
    assert Bundle.open(bundle_copy).identity == before


def test_a_folder_that_is_no_bundle_is_never_replaced(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a bundle"):
        export(tiny_checkpoint("llama"), tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backends": ("tflite",)}, "backends"),
        ({"backends": ()}, "backends"),
        ({"quantize": "int2"}, "quantize"),
        ({"accuracy_level": 3}, "accuracy_level"),
        ({"adapter": AdapterSpec(rank=33)}, "singular directions"),
    ],
)
def test_options_that_cannot_work_are_refused(
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    options: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(UsageError, match=words):
        export(tiny_checkpoint("llama"), tmp_path / "x.dsa", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_may_move(bundle: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "moved.dsa")
    assert Bundle.open(moved).identity == Bundle.open(bundle).identity
