"""The adapter's factors and blocks: exact, deterministic, and bound to the right places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dsa_edge.adapter import AdapterSpec, Slot, make_slots
from dsa_edge.exporters.adapters import Route, make_blocks
from dsa_edge.exporters.adapters.core import Core
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import build_decoder
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.subspace import truncated_svd
from dsa_edge.kinds import Geometry

SHAPES = [(24, 64), (64, 24), (40, 40)]
LAYERS = 3  # of the tiny Llama


def weight(shape: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_u_carries_the_singular_values_in_falling_order(shape: tuple[int, int]) -> None:
    w = weight(shape)
    us, v = truncated_svd(w, 8)
    expected = torch.linalg.svdvals(w)[:8]
    torch.testing.assert_close(us.norm(dim=0), expected, atol=0, rtol=1e-5)  # rounded to float32
    torch.testing.assert_close(v.norm(dim=1), torch.ones(8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_directions_together_are_the_weight(shape: tuple[int, int]) -> None:
    w = weight(shape)
    us, v = truncated_svd(w, min(shape))
    # the smallest singular values come from a squared matrix: half the digits of float64 remain
    torch.testing.assert_close(us @ v, w, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_factors_are_the_same_bits_every_time_and_their_signs_are_fixed(
    shape: tuple[int, int],
) -> None:
    w = weight(shape)
    us, v = truncated_svd(w, 8)
    again = truncated_svd(w.clone(), 8)
    assert torch.equal(us, again[0])
    assert torch.equal(v, again[1])
    negated = truncated_svd(-w, 8)  # the largest entry of each row of V is positive for both
    torch.testing.assert_close(negated[1], v, atol=1e-5, rtol=0)
    torch.testing.assert_close(negated[0], -us, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_weights_of_lower_rank_than_asked_for_stay_finite(
    shape: tuple[int, int], rank: int
) -> None:
    """Pruned or duplicated weights have fewer directions than the adapter wants."""
    w = weight((shape[0], max(rank, 1))) @ weight((max(rank, 1), shape[1]), 1) * (rank > 0)
    us, v = truncated_svd(w, 8)
    assert torch.isfinite(us).all()
    assert torch.isfinite(v).all()
    torch.testing.assert_close(us @ v, w, atol=1e-4, rtol=0)
    assert us[:, rank:].abs().max() < 1e-4  # the others add nothing


SQUARE = Geometry(n_layers=2, width=4, n_heads=2, n_kv_heads=2, head_dim=2, ffn_width=4)


def test_blocks_bind_slots_in_canonical_order_whatever_the_order_of_targets() -> None:
    spec = AdapterSpec("diagonal", rank=2, targets=("down", "q"))
    factors = {t: Core.factors(torch.eye(4, 2), torch.eye(2, 4)) for t in ("q", "down")}
    everywhere = Route.ungated(torch.ones(1, 1, dtype=torch.bool))
    lanes = make_blocks(spec, SQUARE, factors).lanes(
        torch.tensor([[1.0, 2.0, 3.0, 4.0]]), everywhere
    )
    x, y = torch.ones(1, 1, 1, 4), torch.zeros(1, 1, 1, 4)
    assert lanes.add("q", x, y).flatten().tolist() == [1, 2, 0, 0]
    assert lanes.add("down", x, y).flatten().tolist() == [3, 4, 0, 0]
    assert lanes.add("up", x, y) is y  # carries no block


def test_tokens_outside_the_mask_are_untouched() -> None:
    spec = AdapterSpec("core", rank=2, targets=("q",))
    blocks = make_blocks(spec, SQUARE, {"q": Core.factors(torch.eye(4, 2), torch.eye(2, 4))})
    active = torch.tensor([[False, True, True], [False, False, True]])
    lanes = blocks.lanes(torch.ones(1, 4), Route.ungated(active))
    delta = lanes.add("q", torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    assert delta[0, :, :, 0].tolist() == [[0, 2, 2], [0, 0, 2]]


@pytest.fixture(scope="module", params=["core", "diagonal"])
def model(request: pytest.FixtureRequest, tiny_checkpoint: Callable[[str], Path]) -> AdaptedModel:
    source = open_checkpoint(tiny_checkpoint("llama"))
    spec = AdapterSpec(request.param, rank=4, split=0.4)
    made = AdaptedModel(build_decoder(source, "int8"), spec).eval()
    for layer in range(made.split, LAYERS):
        made.add_blocks(layer)
    return made


TOKENS = torch.tensor([[5, 17, 60, 3, 99, 12], [7, 7, 250, 31, 4, 200]])


def logits(model: AdaptedModel, adapter: Tensor | None) -> Tensor:
    with torch.no_grad():
        everywhere = torch.ones_like(TOKENS, dtype=torch.bool)
        lanes = None if adapter is None else model.lanes(adapter, everywhere)
        return model.decoder(TOKENS, lanes)


def test_an_adapter_of_zeros_changes_no_bit(model: AdaptedModel) -> None:
    plain = logits(model, None)
    assert torch.equal(logits(model, torch.zeros(3, model.size)), plain.expand(3, -1, -1, -1))


def test_a_lane_depends_on_its_own_numbers_alone(model: AdaptedModel) -> None:
    vectors = 0.1 * torch.randn(3, model.size, generator=torch.Generator().manual_seed(0))
    before = logits(model, vectors)
    changed = vectors.clone()
    changed[1] += 0.1
    after = logits(model, changed)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert (after[1] - before[1]).abs().max() > 1e-3


def dense_core(model: AdaptedModel, slot: Slot, values: Tensor) -> Tensor:
    """U C V (n_out, n_in) of one slot, from the model's own float16 factors."""
    _, layer, target = slot.name.split(".")
    block = model.blocks[layer].blocks[target]
    core = values.view(slot.shape) if len(slot.shape) == 2 else torch.diag(values)
    return block.u[0].T.float() @ core @ block.v[0].T.float()


def test_every_slot_is_a_dense_u_c_v_on_the_linear_that_it_names(model: AdaptedModel) -> None:
    """The reference adds (U C V) x by a hook on the named linear and knows no blocks."""
    plain = logits(model, None)[0]
    random = torch.Generator().manual_seed(1)
    for slot in make_slots(model.adapter, model.decoder.spec.geometry):
        values = 0.3 * torch.randn(slot.size, generator=random)
        vector = torch.zeros(1, model.size)
        vector[0, slot.offset : slot.offset + slot.size] = values
        _, layer, target = slot.name.split(".")
        linear = model.decoder.layer(int(layer)).linears[target]
        dense = dense_core(model, slot, values)
        hook = linear.register_forward_hook(lambda _, x, y, dense=dense: y + x[0] @ dense.T)
        try:
            expected = logits(model, None)[0]
        finally:
            hook.remove()
        found = logits(model, vector)[0]
        assert (expected - plain).abs().max() > 1e-3, slot.name  # the reference does something
        # float32 sums in another order, carried through at most two layers
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4, msg=slot.name)
