"""Weak columns: the reordered model is the same model, and stored bits move as little as can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CORPUS

from dsa_edge.adapter import AdapterSpec, load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import AdapterError, BundleError, ExampleError, UsageError
from dsa_edge.exporters import export
from dsa_edge.exporters._reload import reload_model
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import Linear, QuantizedWeight, build_decoder, quantize
from dsa_edge.exporters.gradients import TurningLinear
from dsa_edge.exporters.quantization import Orders, Recipe, Reordered, regrouped, swapped
from dsa_edge.manifest import Manifest
from dsa_edge.runtime import Example, Personalizer
from dsa_edge.runtime.interchange import export_adapter, import_adapter

TEXTS = [*CORPUS] * 3
FAMILIES = ("llama", "llama-untied", "llama-bias", "qwen2", "qwen3", "gemma3")


def test_the_weak_channels_are_last_and_no_other_moves_without_need() -> None:
    sensitivity = np.random.default_rng(0).random(128)
    order = swapped(sensitivity, 32)
    assert sorted(order) == list(range(128))
    assert set(order[96:]) == set(np.argsort(sensitivity)[96:])
    assert (np.diff(sensitivity[order[96:]]) >= 0).all()  # the weakest at the end
    moved = order[:96] != np.arange(96)
    # only places that a weak channel has left are filled anew, with those that were last
    assert set(np.flatnonzero(moved)) == {c for c in order[96:] if c < 96}
    assert (order[:96][moved] >= 96).all()


def random_orders(spec: Any, weak: int = 0) -> Orders:
    random = np.random.default_rng(1)
    neurons = tuple(random.permutation(spec.ffn_width) for _ in range(spec.n_layers))
    return Orders(random.permutation(spec.width), neurons, weak)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reordered_model_gives_the_same_logits(
    family: str, tiny_checkpoint: Callable[[str], Path]
) -> None:
    source = open_checkpoint(tiny_checkpoint(family))
    tokens = torch.tensor([[5, 17, 60, 3, 41, 7, 7, 200]])
    with torch.no_grad():
        expected = build_decoder(source, "none")(tokens)
        found = build_decoder(Reordered(source, random_orders(source.spec)), "none")(tokens)
    # float32 sums in another order, through three layers
    torch.testing.assert_close(found, expected, atol=2e-4 * float(expected.std()), rtol=0)


def test_stored_groups_keep_their_bits_but_for_foreign_columns() -> None:
    random = np.random.default_rng(0)
    weight = quantize(random.standard_normal((40, 256)).astype(np.float32), 4)
    order = np.arange(256)
    order[[3, 250]] = order[[250, 3]]  # two columns change places: groups 0 and 7
    found = regrouped(weight, order, weak=32)
    dense = weight.dense()
    assert np.array_equal(found.codes[:, 1:7], weight.codes[:, 1:7])
    assert np.array_equal(found.scales[:, 1:7], weight.scales[:, 1:7])
    error = np.abs(found.dense() - dense[:, order])
    assert error[:, 224:].max() < 2e-3  # float16 of values below 4
    kept = error[:, :32] < 1e-6  # in most outputs the group's own grid is the better one
    assert np.delete(kept, 3, 1).all(1).mean() > 0.5
    anew = quantize(dense[:, order][:, :32], 4).dense()
    assert np.square(error[:, :32]).sum() < 0.5 * np.square(anew - dense[:, order[:32]]).sum()


@pytest.mark.parametrize("bits", [4, 8])
def test_any_order_of_stored_columns_costs_no_more_than_rounding_anew(bits: int) -> None:
    random = np.random.default_rng(0)
    weight = quantize(random.standard_normal((16, 128)).astype(np.float32), bits)
    order = random.permutation(128)
    wanted = weight.dense()[:, order]
    errors = [np.square(q.dense() - wanted).sum() for q in (regrouped(weight, order),
                                                           quantize(wanted, bits))]  # fmt: skip
    assert errors[0] <= errors[1] * 1.0001
    same = regrouped(weight, np.arange(128))
    assert np.array_equal(same.codes, weight.codes)


def test_a_linear_with_weak_columns_is_its_dense_product_forwards_and_backwards() -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 96, generator=random)
    linear = Linear(quantize(weight.numpy(), 4, weak=32), torch.randn(32, generator=random))
    x = torch.randn(5, 96, generator=random, requires_grad=True)
    expected = x @ linear.dense().T + linear.bias
    torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=1e-5)
    turning = TurningLinear(linear)
    torch.testing.assert_close(turning(x), expected, atol=1e-5, rtol=1e-5)
    pull = torch.randn(5, 32, generator=random)
    (found,) = torch.autograd.grad(turning(x), x, pull)
    exact = pull @ linear.dense()
    torch.testing.assert_close(found[:, 64:], exact[:, 64:], atol=1e-5, rtol=1e-5)
    # the others go through the transpose in 8 bits
    assert float((found - exact).norm()) < 0.02 * float(exact.norm())


def rows_of(count: int = 512) -> torch.Tensor:
    return torch.randint(3, 300, (count // 128, 128), generator=torch.Generator().manual_seed(0))


def test_a_calibrated_model_is_nearer_to_float_than_a_rounded_one(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    tokens = torch.randint(3, 300, (4, 64), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        exact = build_decoder(source, "none")(tokens)
        errors = {}
        for name, weak in (("int4", 32), ("gptq", 0), ("gptq", 32)):
            made, info = Recipe(name, weak, TEXTS).quantized(source, rows_of(), lambda _: None)
            errors[name, weak] = float((build_decoder(made, "int4")(tokens) - exact).norm())
            assert info.kept == 0
        errors["int4", 0] = float((build_decoder(source, "int4")(tokens) - exact).norm())
    assert errors["gptq", 0] < errors["int4", 0]
    assert errors["int4", 32] < errors["int4", 0]
    assert errors["gptq", 32] < min(errors["gptq", 0], errors["int4", 32])


def test_stored_bits_are_not_calibrated_and_the_manifest_says_so(
    tiny_gguf: Callable[..., Path],
) -> None:
    source = open_checkpoint(tiny_gguf("Q4_1"))
    made, info = Recipe("gptq", 0, TEXTS).quantized(source, rows_of(), lambda _: None)
    assert info.kept == info.linears == 21
    assert "stored bits kept in 21 of 21" in info.text
    for target in ("q", "o", "down"):
        found, stored = made.weight(f"layers.1.{target}"), source.weight(f"layers.1.{target}")
        assert isinstance(found, QuantizedWeight)
        assert isinstance(stored, QuantizedWeight)
        assert np.array_equal(found.codes, stored.codes)
    weak, info = Recipe("int4", 32, TEXTS).quantized(source, rows_of(), lambda _: None)
    assert info.kept == 21
    tokens = torch.tensor([[5, 17, 60, 3, 41, 7, 7, 200]])
    with torch.no_grad():
        exact = build_decoder(source, "int4")(tokens)
        moved = build_decoder(weak, "int4")(tokens)
        anew = build_decoder(Reordered(source, random_orders(source.spec)), "int4")(tokens)
    # half of this tiny model's channels are weak, so that nearly every group has foreign columns
    assert float((moved - exact).norm()) < 0.8 * float((anew - exact).norm())


@pytest.fixture(scope="module")
def weak_bundle(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("weak") / "weak.dsa"
    spec = AdapterSpec("columns", 32, ("q", "o", "down"))
    export(
        tiny_checkpoint("llama"), path, quantize="gptq", adapter=spec, accuracy_level=0,
        calibration=TEXTS, weak_columns=32,
    )  # fmt: skip
    return path


def test_a_bundle_with_weak_columns_verifies_learns_and_says_what_it_is(
    weak_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle.open(weak_bundle)
    quantized = bundle.manifest.quantized
    assert quantized is not None
    assert (quantized.rounding, quantized.weak_columns, quantized.kept) == ("gptq", 32, 0)
    assert quantized.error is not None
    assert quantized.nearest is not None
    assert quantized.error < quantized.nearest
    assert main(["inspect", str(weak_bundle)]) == 0
    assert "32 weak columns in float16, channels reordered" in capsys.readouterr().out
    with Personalizer.open(weak_bundle) as me:
        words = ["quiet", "baker", "opens", "early", "warm", "bread", "rain", "river"] * 3
        rows = [Example(f"say {w}", (" a", " b")[i % 2], (" a", " b")) for i, w in enumerate(words)]
        fitted = me.fit(rows)
        assert fitted.steps > 0
        assert (me.replay([fitted.steps])[0].vector != 0).any()


def test_columns_on_such_a_base_are_its_weak_ones_in_order(weak_bundle: Path) -> None:
    model = reload_model(Bundle.open(weak_bundle))
    blocks = model.layer_blocks(model.split).blocks
    for target, n_in in (("q", 64), ("down", 96)):
        index = blocks[target].get_buffer("index").tolist()
        assert index == list(range(n_in - 32, n_in))
    linears = model.decoder.layer(model.split).linears
    assert linears["o"].get_buffer("codes").shape[1] == 2  # no weak columns among heads
    assert blocks["o"].get_buffer("index").tolist() != list(range(32, 64))


def test_what_was_calibrated_is_part_of_the_identity_and_nothing_else_is(
    weak_bundle: Path, bundle: Path
) -> None:
    manifest = Bundle.open(weak_bundle).manifest
    assert manifest.quantized is not None
    other = replace(manifest, quantized=replace(manifest.quantized, calibration="0" * 64))
    assert other.identity != manifest.identity
    measured = replace(manifest, quantized=replace(manifest.quantized, error=0.5))
    assert measured.identity == manifest.identity
    assert '"quantized"' not in Bundle.open(bundle).manifest.to_json()


@pytest.mark.parametrize(
    "change",
    [{"weak_columns": 33}, {"weak_columns": 64}, {"weak_columns": -32}, {"rounding": "magic"},
     {"calibration": "x"}, {"error": "none"}, {"tokens": 1.5}, {"tokens": True}],
)  # fmt: skip
def test_a_manifest_with_nonsense_about_bits_is_refused(
    weak_bundle: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    manifest = Bundle.open(weak_bundle).manifest
    assert manifest.quantized is not None
    replace(manifest, quantized=replace(manifest.quantized, **change)).write(tmp_path / "m.json")
    with pytest.raises(BundleError, match="not a valid manifest"):
        Manifest.read(tmp_path / "m.json")


def test_other_libraries_do_not_know_the_order(weak_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(weak_bundle)
    initial = load_adapter(
        weak_bundle / "adapter.safetensors", bundle.identity, bundle.manifest.adapter_size
    )
    with pytest.raises(AdapterError, match="32 weak columns.*--weak-columns"):
        export_adapter(bundle, initial, tmp_path / "peft")
    with pytest.raises(AdapterError, match="32 weak columns.*--weak-columns"):
        import_adapter(bundle, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantize": "awq"}, "'awq', expected one of int4, int8, gptq"),
        ({"quantize": "gptq"}, "gptq without calibration.*--calibrate"),
        ({"weak_columns": 32}, "weak columns without calibration.*--calibrate"),
        ({"weak_columns": 33, "calibration": TEXTS}, "33, expected a multiple of 32.*32"),
        ({"weak_columns": -32, "calibration": TEXTS}, "-32, expected a multiple of 32"),
        ({"weak_columns": 64, "calibration": TEXTS}, "64, expected less than the 64 inputs"),
        ({"quantize": "int8", "weak_columns": 32, "calibration": TEXTS}, "with quantize int8"),
        ({"calibration": TEXTS}, "measures nothing.*--calibrate"),
        ({"quantize": "gptq", "calibration": []}, "0 tokens, expected at least 64"),
        ({"quantize": "gptq", "calibration": ["short"]}, "expected at least 64"),
        ({"quantize": "gptq", "calibration": [b"bytes"]}, "is a bytes, expected a string"),
        (
            {"weak_columns": 32, "calibration": TEXTS, "adapter": AdapterSpec("columns", 40)},
            "rank is 40 for columns.*weak_columns is 32",
        ),
    ],
)
def test_choices_that_cannot_work_are_refused(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        export(tiny_checkpoint("llama"), tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no file"),
        (b"", "holds no example"),
        (b"plain text\n", "line 1: not JSON"),
        (b'{"words": 1}\n', "line 1: it has the keys words"),
        (b'{"text": 7}\n', "line 1: `text` is a int"),
        (b"\xff\xfe\n", "line 1: not UTF-8"),
    ],
)
def test_calibration_files_that_are_no_texts_are_refused(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "texts.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ExampleError, match=words):
        export(tiny_checkpoint("llama"), tmp_path / "b", quantize="gptq", calibration=file)
    assert not (tmp_path / "b").exists()


def test_the_command_line_refuses_in_one_sentence(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(tiny_checkpoint("llama")), str(tmp_path / "b"), "--quantize", "gptq"]
    assert main(command) == 2
    assert main([*command, "--calibrate", str(tmp_path / "none.jsonl")]) == 1
    assert main([*command[:3], "--weak-columns", "48", "--calibrate", "x"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "--calibrate TEXTS.jsonl" in said[0]
    assert "no file" in said[1]
    assert "multiple of 32" in said[2]
