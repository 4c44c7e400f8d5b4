"""ExecuTorch programs: weights in XNNPACK's forms, and one program for every layer's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.errors import ExportError, MissingDependencyError, UsageError
from dsa_edge.exporters import _export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import Linear, build_decoder, quantize
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.kernels.library import library_path

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
from dsa_edge.exporters.executorch import _keep
from dsa_edge.exporters.executorch._keep import form_of, lowered
from dsa_edge.exporters.executorch._layer import LayerProgram
from dsa_edge.exporters.executorch._linear import GroupSums, XnnLinear
from dsa_edge.exporters.executorch._lower import Lowered, lower, lower_template
from dsa_edge.exporters.executorch._values import layer_inputs, with_blocks

needs_ops = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("weak", [0, 32])
def test_a_weight_as_four_bit_products_is_the_weight(bits: int, bias: bool, weak: int) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((48, 96)).astype(np.float32) + 0.5
    stored = quantize(weight, bits, weak=weak)
    added = torch.from_numpy(random.standard_normal(48).astype(np.float32)) if bias else None
    linear = Linear(stored, added)
    x = torch.from_numpy(random.standard_normal((5, 96)).astype(np.float32))
    strong, last = x[:, : 96 - weak], x[:, 96 - weak :]
    y = XnnLinear(linear)(x, strong, GroupSums(96 - weak)(strong), last)
    expected = linear(x)
    # scales lose 3 of 11 bits as bfloat16: about 0.1 % of each weight's distance from the middle
    assert (y - expected).abs().max() < 0.004 * expected.abs().max()


def model(folder: Path) -> AdaptedModel:
    source = open_checkpoint(folder)
    made = AdaptedModel(build_decoder(source, "int4"), AdapterSpec(rank=4)).eval()
    for layer in range(made.split, source.spec.n_layers):
        made.add_blocks(layer)
    return made


def run(folder: Path, lowered: Lowered, data: bytes, values: tuple[Tensor, ...]) -> list[Tensor]:
    from executorch.extension.pybindings import portable_lib

    from dsa_edge.kernels.library import library

    library("dsa_executorch")
    (folder / "p.pte").write_bytes(lowered.program)
    (folder / "p.ptd").write_bytes(data)
    loaded = portable_lib._load_for_executorch(str(folder / "p.pte"), str(folder / "p.ptd"))
    outputs: list[Tensor] = loaded.forward(list(values))
    return outputs


@needs_ops
def test_a_reused_program_equals_its_layer_lowered_for_real_to_the_bit(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    made = model(tiny_checkpoint("llama"))
    program = LayerProgram(made.decoder.layer(2), None)
    values, dynamic = layer_inputs(made.decoder.spec, "core")
    reused = lower_template(program, values, dynamic)
    real = lower(program, values, dynamic)
    assert reused.operators == real.operators
    assert "dsa::gated_lowrank.out" in reused.operators
    ours = run(tmp_path, reused, reused.with_weights(program), values)
    theirs = run(tmp_path, real, real.data, values)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    noise = run(tmp_path, reused, reused.data, values)  # the template's own random weights
    assert not torch.allclose(noise[0], theirs[0])
    with torch.no_grad():
        expected = program(*values)
    torch.testing.assert_close(ours[0], expected[0], atol=1e-3, rtol=1e-3)


def test_a_missing_executorch_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_export, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"run `pip install 'dsa-edge\[executorch\]'"):
        _export.export(tmp_path / "any", tmp_path / "x.dsa", backends=("executorch",))


def test_a_rank_beyond_the_kernels_is_refused(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_export, "MAX_RANK", 3)
    with pytest.raises(UsageError, match="rank is 4, the kernels take at most 3: lower --rank"):
        _export._check_rank(AdapterSpec(rank=4), open_checkpoint(tiny_checkpoint("llama")))


def test_weights_of_another_form_are_refused(tiny_checkpoint: Callable[[str], Path]) -> None:
    made = model(tiny_checkpoint("llama"))
    layer = LayerProgram(made.decoder.layer(0), None)
    names = {name: 0 for name, _ in layer.named_buffers()}
    from executorch.exir._serialize.data_serializer import DataEntry, DataPayload

    payload = DataPayload([b"\0" * 16], {"x": DataEntry(0, 16, None)})
    with pytest.raises(ExportError, match="has another size than in the program: lower it"):
        Lowered(b"", payload, names, ()).with_weights(layer)


@needs_ops
@pytest.mark.parametrize("kind", ["core", "diagonal"])
def test_one_program_serves_every_rank_and_no_blocks_at_all(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    decoder = build_decoder(source, "int4")
    program = LayerProgram(decoder.layer(2), None)
    made = lower_template(program, *layer_inputs(source.spec, kind))
    data = made.with_weights(program)
    specs = [AdapterSpec(kind, rank=5), AdapterSpec(kind, rank=16, targets=("q", "down")), None]
    for spec in specs:
        blocks = None
        if spec:
            adapted = AdaptedModel(decoder, spec).eval()
            adapted.add_blocks(2)
            blocks = adapted.layer_blocks(2)
        values = with_blocks(source.spec, kind, blocks)
        with torch.no_grad():
            expected = program(*values)
        for ours, theirs in zip(run(tmp_path, made, data, values), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_a_kept_program_is_used_again_and_a_damaged_one_is_not(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = open_checkpoint(tiny_checkpoint("llama")).spec
    random = torch.rand(48, spec.width)
    head = _Small(random)
    values, dynamic = (torch.rand(4, spec.width),), ({0: torch.export.Dim("rows", max=9)},)
    form = form_of(head, values, dynamic)
    assert form == form_of(_Small(random * 2), values, dynamic)  # other weights, same program
    assert form != form_of(_Small(random[:8]), values, dynamic)
    first = lowered(head, values, dynamic, form, tmp_path)
    (file,) = tmp_path.glob("*.zip")
    count = 0

    def counted(*given: Any) -> Lowered:
        nonlocal count
        count += 1
        return lower_template(*given)

    monkeypatch.setattr(_keep, "lower_template", counted)
    second = lowered(head, values, dynamic, form, tmp_path)
    assert count == 0
    assert (second.program, second.operators) == (first.program, first.operators)
    assert second.with_weights(head) == first.with_weights(head)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    third = lowered(head, values, dynamic, form, tmp_path)
    assert count == 1
    assert third.with_weights(head) == first.with_weights(head)
    lowered(head, values, dynamic, form, tmp_path)
    assert count == 1  # what was damaged has been replaced
    lowered(head, values, dynamic, form, None)
    lowered(head, values, dynamic, form, file)  # a folder that cannot be: the export goes on
    assert count == 3


class _Small(torch.nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.form = {"what": "a product"}

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, self.get_buffer("weight"))
