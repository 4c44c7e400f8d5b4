"""Every kind of adapter does what its equation says, starts at the base, and exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dsa_edge.adapter import AdapterSpec, load_adapter, make_slots
from dsa_edge.bundle import Bundle
from dsa_edge.errors import UsageError
from dsa_edge.exporters import export
from dsa_edge.exporters.adapters import BLOCKS, Block, Route
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import build_decoder
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.kinds import KINDS, Geometry
from dsa_edge.runtime import Example, Personalizer

N_OUT, N_IN, LANES, BATCH, NEW = 12, 8, 3, 2, 4
SQUARE = Geometry(n_layers=2, width=8, n_heads=2, n_kv_heads=2, head_dim=4, ffn_width=12)
RANKS = {"scale": 1, "bias": 1, "kron": 4, "sparse": 5}
EVERYWHERE = Route.ungated(torch.ones(BATCH, NEW, dtype=torch.bool))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(kind: str, point: str = "gate") -> tuple[Block, Tensor]:
    """A block at a point of `SQUARE`, and the weight that it was made from."""
    spec = AdapterSpec(kind, RANKS.get(kind, 2), (point,))
    weight = random(*SQUARE.shape(point), seed=1)
    frozen = BLOCKS[kind].frozen(weight if point in KINDS["core"].points else None, spec.rank)
    return BLOCKS[kind](point, spec.parts(SQUARE, point), frozen), weight


def dense(kind: str, block: Block, trained: list[Tensor]) -> Tensor:
    """ΔW (n_out, n_in) of the kinds that have one, written as their papers do."""
    if kind == "lora":
        return trained[1] @ trained[0]
    if kind == "lora-frozen":
        return trained[0] @ block.get_buffer("v").float()
    if kind == "kron":
        a, b, c = trained
        return torch.kron(torch.outer(b, a), c.T.contiguous())
    delta, unit = torch.zeros(N_OUT, N_IN), block.get_buffer("unit")
    index = block.get_buffer("index").long()
    if kind == "columns":
        delta[:, index] = trained[0]
    else:
        for row in block.get_buffer("places"):
            for output, entry in enumerate(row.tolist()):
                if entry < len(index):
                    delta[output, index[entry]] += trained[0][entry]
    return unit * delta


@pytest.mark.parametrize("kind", ["lora", "lora-frozen", "kron", "columns", "sparse"])
def test_a_kind_adds_the_product_of_its_paper_lane_by_lane(kind: str) -> None:
    block, _ = made(kind)
    x, y = random(LANES, BATCH, NEW, N_IN), random(LANES, BATCH, NEW, N_OUT, seed=2)
    parameters = random(LANES, block.size, seed=3)
    changed = block.add(x, y, parameters, EVERYWHERE)
    for lane, trained in enumerate(zip(*block.split(parameters), strict=True)):
        expected = y[lane] + x[lane] @ dense(kind, block, list(trained)).T
        torch.testing.assert_close(changed[lane], expected, atol=1e-4, rtol=1e-4)


def test_kinds_without_a_product_do_what_their_papers_say() -> None:
    x, y = random(LANES, BATCH, NEW, 8), random(LANES, BATCH, NEW, 8, seed=2)
    each = random(LANES, 8, seed=3)
    lanes = each[:, None, None]
    scale, _ = made("scale", "o")
    torch.testing.assert_close(scale.add(x, y, each, EVERYWHERE), (1 + lanes) * y)
    bias, weight = made("bias", "o")
    # The usual output for inputs of size 1 is what δ is relative to: an empirical mean is near it.
    usual = (random(4000, 8, seed=9) @ weight.T).pow(2).mean().sqrt()
    assert float(bias.get_buffer("unit")) == pytest.approx(float(usual), rel=0.05)
    expected = y + bias.get_buffer("unit") * lanes
    torch.testing.assert_close(bias.add(x, y, each, EVERYWHERE), expected)
    gain, _ = made("bias", "mlp_norm")
    torch.testing.assert_close(gain.add(y, y, each, EVERYWHERE), (1 + lanes) * y)
    for kind, read in (("bottleneck", y), ("parallel", x)):
        block, _ = made(kind, "mlp")
        parameters = random(LANES, block.size, seed=4)
        down, up = block.split(parameters)
        hidden = torch.relu(torch.einsum("lbtd,lmd->lbtm", read, down))
        expected = y + torch.einsum("lbtm,ldm->lbtd", hidden, up)
        torch.testing.assert_close(block.add(x, y, parameters, EVERYWHERE), expected)


def test_sparse_entries_and_columns_are_the_weights_largest() -> None:
    block, weight = made("sparse")
    chosen = dense("sparse", block, [torch.ones(25)]) != 0
    assert int(chosen.sum()) == 25
    assert int(chosen.sum(1).max()) <= 5  # so many gathers a device makes: 2 · 25 / 12, up
    # At most 5 of an output: among the five largest of each, those that are largest of all.
    top = weight.abs().topk(5, 1)
    best = top.values.flatten().topk(25).values.min()
    assert float(weight.abs()[chosen].min()) == pytest.approx(float(best))
    columns, weight = made("columns")
    norms = weight.norm(dim=0)
    assert set(columns.get_buffer("index").tolist()) == set(norms.topk(2).indices.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_and_zeros_change_no_bit_and_masked_tokens_are_untouched(kind: str) -> None:
    point = KINDS[kind].default[-1]
    block, _ = made(kind, point)
    n_out, n_in = SQUARE.shape(point)
    x, y = random(LANES, BATCH, NEW, n_in), random(LANES, BATCH, NEW, n_out, seed=2)
    start = torch.cat([p.flatten() for p in block.start(torch.Generator().manual_seed(0))])
    for parameters in (start.expand(LANES, -1), torch.zeros(LANES, block.size)):
        assert torch.equal(block.add(x, y, parameters, EVERYWHERE), y)
    active = torch.tensor([[False, True, True, False], [False, False, False, True]])
    changed = block.add(x, y, start + random(LANES, block.size, seed=5), Route.ungated(active))
    assert torch.equal(changed[:, ~active], y[:, ~active])
    assert (changed[:, active] != y[:, active]).any()  # a relu of two may be silent for a token


@pytest.fixture(scope="module")
def source(tiny_checkpoint: Callable[[str], Path]) -> object:
    return open_checkpoint(tiny_checkpoint("llama"))


@pytest.mark.parametrize("kind", KINDS)
def test_slots_cover_the_vector_and_bind_in_order(kind: str, source: object) -> None:
    spec = AdapterSpec(kind, {"kron": 4}.get(kind, min(KINDS[kind].rank, 4)), split=0.5)
    model = AdaptedModel(build_decoder(source, "int8"), spec).eval()  # type: ignore[arg-type]
    for layer in range(model.split, model.decoder.spec.n_layers):
        model.add_blocks(layer)
    slots = make_slots(spec, model.decoder.spec.geometry)
    assert [s.offset for s in slots][1:] == [s.offset + s.size for s in slots][:-1]
    assert model.size == slots[-1].offset + slots[-1].size == len(model.start())
    tokens = torch.tensor([[5, 17, 60, 3]])
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        plain = model.decoder(tokens)
        lanes = model.lanes(model.start()[None], everywhere)
        assert torch.equal(model.decoder(tokens, lanes), plain)
        for slot in slots:  # every slot reaches the logits, once what it works with is not zero
            vector = model.start() + 0.05
            vector[slot.offset : slot.offset + slot.size] += 0.5
            both = torch.stack([model.start() + 0.05, vector])
            out = model.decoder(tokens, model.lanes(both, everywhere))
            assert float((out[0] - out[1]).abs().max()) > 1e-4, slot.name


@pytest.mark.parametrize("kind", ["lora", "kron", "bias", "parallel", "sparse"])
def test_a_kind_is_exported_verified_and_learns(
    kind: str, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    spec = AdapterSpec(kind, {"kron": 4, "sparse": 4}.get(kind, 0) or min(KINDS[kind].rank, 4))
    report = export(tiny_checkpoint("llama"), tmp_path / "b", adapter=spec, accuracy_level=0)
    assert {check.stage for check in report.checks} >= {"logits", "probe", "choose", "adapter"}
    bundle = Bundle.open(tmp_path / "b")
    start = load_adapter(tmp_path / "b/adapter.safetensors", bundle.identity, report.adapter_size)
    with Personalizer.open(tmp_path / "b") as me:
        assert (me.adapter.vector == start.vector).all()
        words = ["quiet", "baker", "opens", "early", "warm", "bread", "rain", "river"] * 3
        rows = [Example(f"say {w}", (" a", " b")[i % 2], (" a", " b")) for i, w in enumerate(words)]
        report_of_fit = me.fit(rows)
        assert report_of_fit.steps > 0
        replayed = me.replay([report_of_fit.steps])[0]
        assert (replayed.vector != start.vector).any()


def test_a_rank_that_does_not_fit_names_the_target_and_why(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    for spec, why in (
        (AdapterSpec("kron", 7), r"rank is 7 for kron, but q of this model is .* multiples"),
        (AdapterSpec("lora", 4000), r"rank is 4000 for lora, but q .* singular directions"),
        (AdapterSpec("scale", 2), r"rank is 2 for scale, .* one number an output"),
        (AdapterSpec("columns", 5000), r"has \d+ columns"),
        (AdapterSpec("sparse", 900), r"fewer than rank × rank"),
        (AdapterSpec("bottleneck", 5000), r"but attention of this model"),
    ):
        with pytest.raises(UsageError, match=why):
            export(tiny_checkpoint("llama"), tmp_path / "b", adapter=spec)
    assert not (tmp_path / "b").exists()
