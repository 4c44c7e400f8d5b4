"""How much noise an (ε, δ) needs, and how much of it several fits have spent.

Accounted by Google's `dp-accounting` from privacy-loss distributions (Koskela et al. 2020), for
one example added or removed. Each example is either learned from or held out, in all fits of a
store alike, so what the two parts reveal does not add up: the larger of them counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsa_edge.errors import MissingDependencyError, PrivacyError
from dsa_edge.runtime._privacy import Privacy, Spent

__all__ = ["noise_for", "spent"]

GRID = 1e-3  # of the distributions; ε is rounded up by less than 1 %
LEAST, MOST = 0.3, 1000.0  # noise that is looked at
ROUNDED = 1e-3  # precision of the noise


def noise_for(privacy: Privacy, share: float, steps: int, before: Sequence[Spent]) -> float:
    """The least noise at which all fits, this one of `steps` steps among them, stay within ε.

    share: of the examples, in each step on average. before: what earlier fits of the store took.
    Raises PrivacyError when no noise is enough.
    """
    dp = _dp_accounting()
    left = privacy.epsilon - sum(fit.verdict for fit in before)
    already = _epsilon([_event(dp, f.noise, f.share, f.steps) for f in before], privacy.delta)
    if already >= privacy.epsilon or left <= 0:
        raise PrivacyError(
            f"epsilon is {privacy.epsilon:g}, and earlier fits of this store have already spent "
            f"{max(already, privacy.epsilon - left):.2f}: allow more, or `forget` and begin again."
        )

    def epsilon(noise: float) -> float:
        events = [_event(dp, f.noise, f.share, f.steps) for f in before]
        return _epsilon([*events, _event(dp, noise, share, steps)], privacy.delta)

    if epsilon(MOST) > privacy.epsilon:
        raise PrivacyError(
            f"epsilon is {privacy.epsilon:g}, of which earlier fits left too little for {steps} "
            "steps, whatever the noise: allow more, or fewer steps."
        )
    return _least(epsilon, privacy.epsilon)


def spent(fits: Sequence[Spent], delta: float) -> float:
    """ε at δ of all these fits together; 0 for none."""
    dp = _dp_accounting()
    learned = _epsilon([_event(dp, f.noise, f.share, f.steps) for f in fits if f.steps], delta)
    return max(learned, sum(fit.verdict for fit in fits))


def _least(epsilon: Any, wanted: float) -> float:
    """Bisection over the logarithm of the noise, of which ε is a falling function."""
    low, high = LEAST, MOST
    while high / low > 1 + ROUNDED:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if epsilon(middle) <= wanted else (middle, high)
    return high


def _event(dp: Any, noise: float, share: float, steps: int) -> Any:
    sampled = dp.PoissonSampledDpEvent(share, dp.GaussianDpEvent(noise))
    return dp.SelfComposedDpEvent(sampled, steps)


def _epsilon(events: Sequence[Any], delta: float) -> float:
    if not events:
        return 0.0
    from dp_accounting import pld

    accountant = pld.PLDAccountant(value_discretization_interval=GRID)
    for event in events:
        accountant.compose(event)
    return float(accountant.get_epsilon(delta))


def _dp_accounting() -> Any:
    try:
        import dp_accounting
    except ImportError as error:
        raise MissingDependencyError("dp-accounting", "privacy", "a privacy guarantee") from error
    return dp_accounting
