"""`verify` notices every kind of damage, and names the stage that noticed it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from manifests import edit_manifest

from dsa_edge.bundle import Bundle, hash_file
from dsa_edge.errors import VerifyError
from dsa_edge.exporters import verify
from dsa_edge.manifest import FileEntry, Manifest
from dsa_edge.weights import read_frozen

STAGES = ["files", "graphs", "logits", "shipped", "probe", "choose", "adapter", "golden"]
DATA = "onnx/base.onnx_data"


def rewrite_manifest(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    edit_manifest(bundle / "manifest.json", edit)


def accept(bundle: Path) -> None:
    """Make the manifest agree with the files again, as a careful forger would."""
    manifest = Manifest.read(bundle / "manifest.json")
    for name in manifest.files:
        file = bundle / name
        manifest.files[name] = FileEntry(hash_file(file), file.stat().st_size)
    manifest.write(bundle / "manifest.json")


def fails(bundle: Path, stage: str) -> None:
    with pytest.raises(VerifyError, match=re.escape(f"stage '{stage}'")) as caught:
        verify(bundle)
    assert str(caught.value).endswith(".")


def edit_graph(bundle: Path, method: str, edit: Callable[[onnx.GraphProto], object]) -> None:
    path = bundle / "onnx" / f"{method}.onnx"
    model = onnx.load(path, load_external_data=False)
    edit(model.graph)
    path.write_bytes(model.SerializeToString())
    accept(bundle)


def scale_input(graph: onnx.GraphProto, name: str, factor: float) -> None:
    """Multiply one input by a factor before anything sees it."""
    for node in graph.node:
        for at, used in enumerate(node.input):
            if used == name:
                node.input[at] = f"{name}_scaled"
    kind = next(i for i in graph.input if i.name == name).type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    constant = onnx.numpy_helper.from_array(np.array(factor, dtype), f"{name}_factor")
    graph.initializer.append(constant)
    node = onnx.helper.make_node("Mul", [name, constant.name], [f"{name}_scaled"])
    graph.node.insert(0, node)


@pytest.mark.parametrize("which", ["bundle", "other_bundle"])
def test_a_good_bundle_passes_every_stage_in_order(
    request: pytest.FixtureRequest, which: str
) -> None:
    told: list[str] = []
    checks = verify(request.getfixturevalue(which), told.append)
    assert [check.stage for check in checks] == told == STAGES
    assert all(check.measured <= check.tolerance for check in checks)
    measured = {check.stage: check.measured for check in checks}
    # cached and batched graphs against the naive path, float16 caches between them
    assert measured["probe"] <= 0.02
    assert measured["choose"] <= 0.02
    assert measured["logits"] <= 0.02


def test_one_changed_byte_of_the_weights_is_found_first(bundle_copy: Path) -> None:
    with (bundle_copy / DATA).open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    fails(bundle_copy, "files")


def test_weights_exchanged_with_their_hashes_change_the_golden_text(bundle_copy: Path) -> None:
    """Everything agrees with itself here; only the recorded tokens tell the models apart."""
    codes = read_frozen(Bundle.open(bundle_copy))["decoder.embedding.codes"]
    raw = np.memmap(bundle_copy / DATA, np.uint8, "r+")
    start = codes.offset  # type: ignore[attr-defined]
    rows = raw[start : start + codes.nbytes].reshape(len(codes), -1)
    rows[:] = rows[::-1].copy()
    raw.flush()
    accept(bundle_copy)
    fails(bundle_copy, "golden")


def test_golden_tokens_that_were_edited_are_found(bundle_copy: Path) -> None:
    rewrite_manifest(bundle_copy, lambda m: m["golden"]["expected_ids"].reverse())
    original = Manifest.read(bundle_copy / "manifest.json").golden.expected_ids
    if original == original[::-1]:  # a model that repeats one token
        rewrite_manifest(bundle_copy, lambda m: m["golden"].update(expected_ids=[9] * 8))
    fails(bundle_copy, "golden")


@pytest.mark.parametrize("ids", [[], [1], [1] * 9])
def test_golden_tokens_of_another_number_are_found(bundle_copy: Path, ids: list[int]) -> None:
    rewrite_manifest(bundle_copy, lambda m: m["golden"].update(expected_ids=ids))
    fails(bundle_copy, "golden")


@pytest.mark.parametrize("method", ["prefill", "probe", "choose", "decode"])
def test_a_graph_that_is_none_is_found(bundle_copy: Path, method: str) -> None:
    file = bundle_copy / "onnx" / f"{method}.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    accept(bundle_copy)
    fails(bundle_copy, "graphs")


def test_a_method_that_is_missing_is_found(bundle_copy: Path) -> None:
    rewrite_manifest(bundle_copy, lambda m: m["methods"].pop("choose"))
    fails(bundle_copy, "graphs")


@pytest.mark.parametrize(
    ("method", "stage"), [("decode", "logits"), ("probe", "probe"), ("choose", "choose")]
)
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_method_that_ignores_or_turns_the_adapter_is_found(
    bundle_copy: Path, method: str, stage: str, factor: float
) -> None:
    edit_graph(bundle_copy, method, lambda graph: scale_input(graph, "adapter", factor))
    fails(bundle_copy, stage)


@pytest.mark.parametrize(
    ("method", "given", "stage"),
    [
        ("decode", "values", "logits"),
        ("decode", "prefix_values", "logits"),
        ("prefill", "prefix_keys", "logits"),
        ("probe", "keys", "probe"),
        ("probe", "prefix_values", "probe"),
        ("probe", "weights", "probe"),
        ("choose", "hidden", "choose"),
    ],
)
def test_a_method_that_loses_part_of_its_input_is_found(
    bundle_copy: Path, method: str, given: str, stage: str
) -> None:
    edit_graph(bundle_copy, method, lambda graph: scale_input(graph, given, 0.5))
    fails(bundle_copy, stage)


def test_lanes_that_leak_into_each_other_are_found(bundle_copy: Path) -> None:
    """Every lane gets the mean of all lanes' adapters."""

    def mix(graph: onnx.GraphProto) -> None:
        scale_input(graph, "adapter", 1.0)
        mean = onnx.helper.make_node(
            "ReduceMean", ["adapter", "lane_axis"], ["adapter_mean"], keepdims=1
        )
        axis = onnx.numpy_helper.from_array(np.array([0], np.int64), "lane_axis")
        shape = onnx.helper.make_node("Shape", ["adapter"], ["adapter_shape"])
        spread = onnx.helper.make_node("Expand", ["adapter_mean", "adapter_shape"], ["mixed"])
        graph.initializer.append(axis)
        graph.node[0].input[0] = "mixed"
        for node in (spread, shape, mean):
            graph.node.insert(0, node)

    edit_graph(bundle_copy, "probe", mix)
    fails(bundle_copy, "probe")


def test_no_bundle_is_a_verify_error_too(tmp_path: Path) -> None:
    fails(tmp_path / "none.dsa", "files")
    fails(tmp_path, "files")
