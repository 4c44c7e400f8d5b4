"""Each estimator against exact gradients: unbiased, and as noisy as its formula says.

Where a tolerance stands for chance, it is some standard errors of the mean of so many draws; seeds
are fixed, so a test that passes passes always.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dsa_edge.errors import UsageError
from dsa_edge.runtime._calibration import softmax
from dsa_edge.runtime._hyperparameters import ESTIMATORS, Hyperparameters
from dsa_edge.runtime.estimators import MAKERS, Probing, Space, make_estimator, mask_of, quzo
from dsa_edge.runtime.estimators.one_sided import OneSided
from dsa_edge.runtime.estimators.quzo import DELTA, MOST, Quzo
from dsa_edge.runtime.estimators.sparse import Sparse

PROBING = [name for name in ESTIMATORS if name != "exact"]  # which needs graphs of gradients

ROWS, COLS = 2, 4
N = ROWS * COLS
SHAPES = ((ROWS, COLS),)
THETA = np.random.default_rng(1).uniform(-0.25, 0.25, N).astype(np.float32)
DRAWS = 8000
RANDOM = ("antithetic", "lowrank", "mezo", "one-sided", "quzo", "sparse")  # in their directions


def make(name: str, seed: int = 3, start: np.ndarray = THETA, **choices: object) -> Probing:
    given = {"queries": 2 if name == "one-sided" else 1, "epsilon": 0.01, "refresh": 1, **choices}
    hyper = Hyperparameters(estimator=name, **given)  # type: ignore[arg-type]
    return make_estimator(hyper, seed, Space(start, SHAPES if start.size == N else ()))


class Softmax:
    """Softmax regression: θ (ROWS, COLS) maps features to the scores of ROWS classes."""

    def __init__(self) -> None:
        random = np.random.default_rng(2)
        self.features = random.standard_normal((12, COLS))
        self.answers = np.arange(12) % ROWS

    def scores(self, lanes: np.ndarray) -> np.ndarray:
        scores = np.einsum("lkd,bd->lbk", lanes.reshape(-1, ROWS, COLS), self.features)
        return np.asarray(np.log(softmax(scores)))

    def losses(self, lanes: np.ndarray) -> np.ndarray:
        return -self.scores(lanes)[:, np.arange(12), self.answers]

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        residual = softmax(self.scores(theta[None])[0]) - np.eye(ROWS)[self.answers]
        return np.asarray((residual.T @ self.features / 12).reshape(-1))


class Linear:
    """Losses a·θ: without curvature, so that all there is to see are the directions."""

    def __init__(self, size: int = N) -> None:
        self.slope = np.random.default_rng(4).standard_normal(size)

    def losses(self, lanes: np.ndarray) -> np.ndarray:
        return np.asarray(lanes.astype(np.float64) @ self.slope)[:, None]

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return self.slope


def estimates(
    model: Softmax | Linear, estimator: Probing, theta: np.ndarray, draws: int
) -> Iterator[np.ndarray]:
    """Gradients of step after step at the same θ; those of `one-sided` in its paper's scale."""
    for step in range(draws):
        losses = model.losses(np.concatenate(list(estimator.blocks(theta, step))))
        gradient = estimator.direction(estimator.from_losses(losses), step)
        assert gradient is not None
        scale = losses.mean(1)[1:].std(ddof=1) / 0.01 if isinstance(estimator, OneSided) else 1
        yield gradient.astype(np.float64) * scale


def wanted(estimator: Probing, gradient: np.ndarray) -> np.ndarray:
    """What an estimator estimates of a gradient."""
    if not isinstance(estimator, Sparse):
        return gradient
    return np.where(np.isin(np.arange(N), estimator.chosen), gradient, 0)


def moments() -> tuple[float, float, float]:
    """E[E[Q|u]²], E[Q²] and E[E[Q²|u]²] of a rounded normal number, by quadrature."""
    u = np.linspace(-8, 8, 1_000_001)
    weight = np.exp(-u * u / 2) / np.sqrt(2 * np.pi) * (u[1] - u[0])
    low = np.floor(u / DELTA)
    chance = u / DELTA - low
    below, above = (DELTA * np.clip(low + i, -MOST, MOST) for i in (0, 1))
    mean = (1 - chance) * below + chance * above
    square = (1 - chance) * below**2 + chance * above**2
    return tuple(float((weight * x).sum()) for x in (mean**2, square, square**2))  # type: ignore


@pytest.mark.parametrize("name", RANDOM)
def test_the_mean_of_many_estimates_is_the_gradient(name: str) -> None:
    """The mean of T has T times less variance than one; its square is within 2.5 of that.

    That is 3 standard deviations of a χ² of 8. A bias of a twentieth of the gradient would show
    for all but `lowrank`, which is noisier.
    """
    model, estimator = Softmax(), make(name, grid=2**-20)
    made = np.stack(list(estimates(model, estimator, THETA, DRAWS)))
    off = made.mean(0) - wanted(estimator, model.gradient(THETA))
    assert off @ off < 2.5 * made.var(0).sum() / DRAWS


@pytest.mark.parametrize(
    ("name", "choices", "factor"),
    [
        ("antithetic", {}, N - 1),
        ("antithetic", {"queries": 4}, (N - 1) / 4),
        ("mezo", {}, N + 1),
        ("mezo", {"queries": 4}, (N + 1) / 4),
        ("one-sided", {}, (N - 1) / 2),
        ("one-sided", {"queries": 8}, (N - 1) / 8),
        ("quzo", {}, "quzo"),
        ("sparse", {"share": 0.5}, N / 2 + 1),
        ("lowrank", {}, ROWS * COLS + 2 * (ROWS + COLS + 1) + 1),
        ("lowrank", {"rank": 2}, ROWS * COLS + (ROWS + COLS + 1) + 1),
        ("axes", {"queries": N}, 0),
    ],
)  # fmt: skip
def test_the_variance_is_what_the_formula_says(
    name: str, choices: dict[str, float], factor: float | str
) -> None:
    """E‖g − ∇‖² / ‖∇‖² for a linear loss, as each estimator's file has it.

    A standard error is 1 to 3 % of it, and 7 % for `lowrank` with its heavier tails. n − 1 and
    n + 1 are 25 % apart here.
    """
    model, estimator = Linear(), make(name, **choices)
    target = wanted(estimator, model.slope)
    if factor == "quzo":
        _, square, fourth = moments()
        factor = (N - 1) * square**2 + fourth - 1
    error = [((g - target) ** 2).sum() for g in estimates(model, estimator, THETA, DRAWS)]
    measured = np.mean(error) / (target @ target)
    tolerance = 0.15 if name == "lowrank" else 0.07
    assert measured == pytest.approx(factor, rel=tolerance, abs=1e-5)


def test_axes_give_the_gradient_itself_and_blocks_go_round() -> None:
    """Within the curvature of ± 0.01: 1e-5 of it."""
    model = Softmax()
    (whole,) = estimates(model, make("axes", queries=100), THETA, 1)
    np.testing.assert_allclose(whole, model.gradient(THETA), atol=1e-5)
    parts = list(estimates(model, make("axes", queries=3), THETA, N))
    assert [np.count_nonzero(part) for part in parts] == [3] * N
    # a round of n steps of 3 probes each axis three times
    np.testing.assert_allclose(np.sum(parts, 0), 3 * model.gradient(THETA), atol=3e-5)


def test_axes_refuse_more_lanes_than_anyone_would_wait_for() -> None:
    with pytest.raises(UsageError, match=r"2000 lanes .* 1000 of 5000 .* 1024: take 512 queries"):
        make("axes", start=np.zeros(5000, np.float32), queries=1000)
    assert make("axes", queries=1000).lanes == 2 * N


def roundings(estimator: Probing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal numbers, and both of their roundings."""
    assert isinstance(estimator, Quzo)
    size = estimator.space.size
    u = quzo.gaussians(estimator.seed, 0, 0, quzo.PERTURB, size).astype(np.float64)
    return u, estimator.probed(0, 0).astype(np.float64), estimator.returned(0, 0).astype(np.float64)


def test_the_two_roundings_of_quzo_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given u: their errors do not correlate, and E[u₁u₂] = E[u²] as if nothing was rounded.

    400,000 numbers: a correlation is within 5/√400,000 = 0.008 of 0; u₁u₂ has deviation 1.5, so its
    mean is within 0.012. One shared rounding would give 1 and 1 + Δ²/6 = 1.042.
    """
    start = np.zeros(400_000, np.float32)
    u, first, second = roundings(make("quzo", start=start))
    inside = np.abs(u) < MOST * DELTA
    assert abs(np.corrcoef((first - u)[inside], (second - u)[inside])[0, 1]) < 0.008
    gain, square, _ = moments()
    assert gain == pytest.approx(1, abs=2e-3)  # what 4 bits cut off
    assert (first * second).mean() == pytest.approx(gain, abs=0.012)
    assert (first * first).mean() == pytest.approx(square, abs=0.012)
    assert square == pytest.approx(1 + DELTA**2 / 6, abs=3e-3)

    monkeypatch.setattr(quzo, "ROUND_BACK", quzo.ROUND_PROBE)
    u, first, second = roundings(make("quzo", start=start))
    assert np.corrcoef((first - u)[inside], (second - u)[inside])[0, 1] == pytest.approx(1)
    assert (first * second).mean() > gain + 0.025


def test_quzo_probes_are_four_bits_and_its_state_stays_on_a_grid_of_eight() -> None:
    estimator = make("quzo", start=np.zeros(5000, np.float32))
    _, first, second = roundings(estimator)
    for rounded in (first, second):
        codes = rounded / DELTA
        np.testing.assert_array_equal(codes, np.rint(codes))
        assert np.abs(codes).max() <= 7
    theta, by = np.zeros(5000, np.float32), np.full(5000, 0.3 * 2**-7, np.float32)
    moved = np.stack([estimator.moved(theta, by, step) for step in range(40)]) / 2**-7
    assert set(np.unique(moved)) == {-1, 0}
    # 200,000 throws of chance 0.3 have a mean of deviation 0.001
    assert moved.mean() == pytest.approx(-0.3, abs=0.005)
    far = estimator.moved(theta, np.float32(1e9) * np.sign(first).astype(np.float32), 0) / 2**-7
    assert set(np.unique(far)) <= {-127, 0, 127}


@pytest.mark.parametrize(("largest", "grid"), [(0.0, 2**-7), (0.49, 2**-7), (3.0, 2**-4)])
def test_the_grid_of_quzo_widens_to_hold_its_start(largest: float, grid: float) -> None:
    estimator = make("quzo", start=np.array([0, largest, -largest / 3, 0], np.float32))
    assert isinstance(estimator, Quzo)
    assert estimator.grid == grid
    kept = estimator.moved(estimator.space.start, np.zeros(4, np.float32), 0)
    np.testing.assert_allclose(kept, estimator.space.start, atol=grid / 2)


def test_sparse_takes_the_smallest_of_each_slot_and_chance_among_equals() -> None:
    start = np.array([5, 1, 4, 2, 3, 0, 0, 0, 0, 7], np.float32)
    hyper = Hyperparameters(estimator="sparse", share=0.4)
    chosen = [
        Sparse(hyper, seed, Space(start, ((5,), (5, 1)))).chosen.tolist() for seed in range(40)
    ]
    assert all(indices[:2] == [1, 3] for indices in chosen)
    zeros = [tuple(indices[2:]) for indices in chosen]
    assert all(len(pair) == 2 and set(pair) <= {5, 6, 7, 8} for pair in zeros)
    assert len(set(zeros)) == 6  # all pairs of four in forty seeds


def test_sparse_never_moves_what_is_not_in_its_mask() -> None:
    estimator = make("sparse", share=0.25)
    assert isinstance(estimator, Sparse)
    others = np.setdiff1d(np.arange(N), estimator.chosen)
    assert len(others) == 6
    for lane in np.concatenate(list(estimator.blocks(THETA, 0))):
        np.testing.assert_array_equal(lane[others], THETA[others])


def test_a_mask_of_sensitivities_is_used_as_it_is() -> None:
    sensitivity = np.array([1, 9, 3, 0, 8, 2, 5, 7, 6, 4], np.float32)
    mask = mask_of(sensitivity, 0.3)
    estimator = make("sparse", start=np.zeros(10, np.float32), mask=mask)
    assert isinstance(estimator, Sparse)
    assert estimator.chosen.tolist() == [1, 4, 7]
    for wrong, share in ((sensitivity * np.nan, 0.3), (sensitivity, 0.0), (sensitivity[:0], 0.3)):
        with pytest.raises(UsageError, match="0 < share ≤ 1"):
            mask_of(wrong, share)


@pytest.mark.parametrize("mask", ["zz", "00", "0000", "f", "ffff", "-1", "0x"])
def test_masks_of_another_adapter_are_refused(mask: str) -> None:
    """Ten numbers are two bytes, of which six bits must be clear, and some bit set."""
    with pytest.raises(UsageError, match=r"the mask has \d bytes of hex, expected 2"):
        make("sparse", start=np.zeros(10, np.float32), mask=mask)


def test_low_rank_directions_share_a_subspace_for_a_while() -> None:
    rank = 2
    hyper = Hyperparameters(estimator="lowrank", rank=rank, refresh=3, queries=1)
    space = Space(np.zeros(6 * 5 + 7, np.float32), ((6, 5), (7,)))
    estimator = MAKERS["lowrank"](hyper, 1, space)
    zs = [next(estimator.blocks(space.start, step))[0] / hyper.epsilon for step in range(6)]
    matrices = [z[:30].reshape(6, 5) for z in zs]
    assert [np.linalg.matrix_rank(m, tol=1e-4) for m in matrices] == [rank] * 6
    # rows of one period span V's two columns, and those of two periods more
    assert np.linalg.matrix_rank(np.concatenate(matrices[:3]), tol=1e-4) == rank
    assert np.linalg.matrix_rank(np.concatenate(matrices[2:4]), tol=1e-4) == 2 * rank
    ones = estimator.direction(np.ones(1, np.float32), 0)
    assert ones is not None
    np.testing.assert_allclose(ones[:30], zs[0][:30] / rank, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ones[30:], zs[0][30:], rtol=1e-4, atol=1e-6)  # a vector


def test_ranks_above_the_smallest_slot_are_refused() -> None:
    with pytest.raises(UsageError, match="rank is 3, and one slot here is 2 × 4: expect"):
        make("lowrank", rank=3)
    vector = make("lowrank", start=np.zeros(9, np.float32), rank=3)  # no matrix, so no rank
    assert np.isfinite(next(vector.blocks(np.zeros(9, np.float32), 0))).all()


@pytest.mark.parametrize("name", PROBING)
def test_scores_and_losses_say_the_same_where_labels_are_balanced(name: str) -> None:
    """The centred slopes of scores are those of losses but for the batch's mean residual."""
    model, estimator = Softmax(), make(name, queries=4, smoothing=0.0, epsilon=1e-3)
    model.features[1::2] = -model.features[0::2]  # residuals then have a mean of 0
    lanes = np.concatenate(list(estimator.blocks(np.zeros(N, np.float32), 0)))
    scores = estimator.from_scores(model.scores(lanes), model.answers)
    np.testing.assert_allclose(
        scores, estimator.from_losses(model.losses(lanes)), rtol=0.02, atol=2e-3
    )


@pytest.mark.parametrize("name", PROBING)
def test_a_lane_that_is_not_finite_takes_its_scalar_alone(name: str) -> None:
    estimator = make(name, queries=4)
    model, theta = Linear(), np.zeros(N, np.float32)
    lanes = np.concatenate(list(estimator.blocks(theta, 0)))
    assert len(lanes) == estimator.lanes
    losses = model.losses(lanes)
    for bad in (np.nan, np.inf, -np.inf):
        losses[3] = bad
        scalars = estimator.from_losses(losses)
        lost = 2 if name == "one-sided" else 1
        assert np.flatnonzero(~np.isfinite(scalars)).tolist() == [lost]
        assert np.isnan(scalars[lost])
        gradient = estimator.direction(scalars, 0)
        assert gradient is not None
        assert np.isfinite(gradient).all()
    losses[:] = np.nan
    assert np.isnan(estimator.from_losses(losses)).all()
    assert estimator.direction(estimator.from_losses(losses), 0) is None
    scores = np.full((estimator.lanes, 3, 2), np.nan)
    assert np.isnan(estimator.from_scores(scores, np.zeros(3, np.int64))).all()


def test_one_sided_is_lost_with_its_centre_and_does_not_blow_up_noise() -> None:
    estimator = make("one-sided", queries=4)
    losses = np.array([[np.nan], [1.0], [1.1], [1.2], [1.3]])
    assert np.isnan(estimator.from_losses(losses)).all()
    flat = np.array([[1.0], [1.0 + 1e-7], [1.0], [1.0], [1.0]])
    assert np.abs(estimator.from_losses(flat)).max() < 0.02
    assert estimator.from_losses(np.ones((5, 1))).tolist() == [0, 0, 0, 0]


def test_lanes_come_in_blocks_that_memory_holds() -> None:
    """16 MB of lanes at a time; MeZO two lanes, whatever there is room for."""
    theta = np.zeros(1_000_000, np.float32)
    sizes = {
        name: [len(b) for b in make(name, start=theta, queries=5).blocks(theta, 0)]
        for name in ("antithetic", "mezo", "one-sided")
    }
    assert sizes == {"antithetic": [4, 4, 2], "mezo": [2] * 5, "one-sided": [4, 2]}


def test_the_names_of_estimators_are_those_that_can_be_made() -> None:
    assert sorted(MAKERS) == list(ESTIMATORS)


def test_slots_that_are_not_the_adapter_are_no_space() -> None:
    with pytest.raises(ValueError, match="adapter of 8 numbers"):
        Space(THETA, ((2, 5),))


def test_axes_of_the_same_seed_are_the_same_and_of_another_not() -> None:
    orders = [make("axes", seed, queries=N).direction(np.arange(N), 0) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()  # type: ignore[union-attr]
