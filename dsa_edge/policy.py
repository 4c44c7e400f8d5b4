"""A gate as a policy: routes are drawn by chance, and what they earned says how scores should move.

An ordered route of k of N blocks is drawn without replacement from the softmax of a prompt's scores
(Plackett 1975), by adding Gumbel noise and taking the k best (Kool et al. 2019):

    log π(b_1 … b_k) = Σ_t (s_{b_t} − log Σ_{c not in b_1 … b_{t−1}} exp s_c)

Of G routes drawn for the same prompt each one's baseline is the mean reward of the others
(RLOO, Kool et al. 2019b; for adapters ReMix, 2603.10160):

    ∇J = (1/G) Σ_g a_g ∇ log π(m_g)        a_g = r_g − mean_{h ≠ g} r_h

Two more terms keep the policy open: the balance loss α N Σ_b f_b P_b of Switch (2101.03961,
equation 4) and, below a floor, the entropy of a prompt's softmax. All in float64, per unit of
temperature.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsa_edge.gate import Gate

__all__ = ["LearnedGate", "advantages", "drawn", "pull", "temperature"]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BALANCE = 1e-2  # α of the balance loss
FLOOR = 0.05  # of log N: a mean entropy below it is raised
OPEN = 0.1  # weight of the entropy there
TINY = 1e-3  # nats: rewards that differ less say nothing
HALVINGS = 60


@dataclass
class LearnedGate:
    """A gate on its way. start: where it begins; directions: (F, D + 1); amounts: (N, F)."""

    start: Gate
    directions: Floats
    amounts: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Nothing was learned yet."""
        self.amounts = np.zeros((self.start.blocks, len(self.directions)), dtype=np.float32)

    @property
    def gate(self) -> Gate:
        """The gate as it is now."""
        table = self.start.table
        for amount, direction in zip(self.amounts.T, self.directions, strict=True):
            table = table + amount[:, None] * direction
        return Gate.read(table)

    def move(self, gradient: Floats, pace: float) -> None:
        """Step by a gradient (N, F) or (N F,), where all of it is finite; pace: of this step."""
        if np.isfinite(gradient).all():
            step = np.float32(pace) * gradient.reshape(self.amounts.shape)
            self.amounts = self.amounts - step


def drawn(scores: Doubles, active: int, noise: Doubles) -> Ints:
    """Routes (G, B, k) of scores (B, N), each in the order in which its blocks were drawn.

    noise: (G, B, N) of the Gumbel distribution.
    """
    keys = scores + noise
    return np.argsort(-keys, axis=-1, kind="stable")[..., :active].astype(np.int64)


def advantages(rewards: Doubles) -> Doubles:
    """What each of G rewards (G, B) is over the mean of the others, of root mean square 1.

    An example with a reward that is not finite has none.
    """
    known = np.isfinite(rewards).all(0)
    safe = np.where(known, rewards, 0.0)
    over = (safe - safe.mean(0)) * len(safe) / (len(safe) - 1)
    spread = np.sqrt((over[:, known] ** 2).mean()) if known.any() else 0.0
    return np.asarray(over / max(float(spread), TINY))


def pull(scores: Doubles, routes: Ints, worth: Doubles) -> Doubles:
    """The gradient (B, N) by scores (B, N) of what is minimized, as a mean over the batch.

    routes: (G, B, k) that were drawn; worth: (G, B) advantages.
    """
    batch, blocks = scores.shape
    shares = _softmax(scores)
    earned = (worth[..., None] * _log_gradients(scores, routes)).mean(0)
    drawn_share = np.bincount(routes.ravel(), minlength=blocks) / routes.size
    crowded = BALANCE * blocks * shares * (drawn_share - (shares @ drawn_share)[:, None])
    logs = np.log(np.maximum(shares, 1e-300))
    entropy = -(shares * logs).sum(1, keepdims=True)
    raised = -shares * (logs + entropy)  # the gradient of a prompt's entropy
    open_up = OPEN * (entropy.mean() < FLOOR * np.log(blocks))
    return np.asarray((crowded - earned - open_up * raised) / batch)


def temperature(scores: Doubles, sure: float) -> float:
    """What scores (E, N) are divided by, so that the likeliest block has `sure` on average."""
    low, high = -30.0, 30.0  # of the logarithm
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        surer = _softmax(scores / np.exp(middle)).max(1).mean() > sure
        low, high = (middle, high) if surer else (low, middle)
    return float(np.exp(low)) if np.ptp(scores, axis=1).max() > 0 else 1.0


def _log_gradients(scores: Doubles, routes: Ints) -> Doubles:
    """∇ log π (G, B, N) of routes (G, B, k) by scores (B, N)."""
    left = np.repeat(scores[None], len(routes), 0)
    found = np.zeros_like(left)
    for at in range(routes.shape[-1]):
        block = routes[..., at : at + 1]
        found -= _softmax(left)
        np.put_along_axis(found, block, np.take_along_axis(found, block, -1) + 1, -1)
        np.put_along_axis(left, block, -np.inf, -1)
    return found


def _softmax(scores: Doubles) -> Doubles:
    likelihood = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(likelihood / likelihood.sum(-1, keepdims=True))
