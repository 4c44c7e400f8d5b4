"""Where an interrupted meta-training goes on: one file, whole or not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dsa_edge.atomic import write_atomic
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.exporters.training.meta._host import Host
from dsa_edge.exporters.training.meta._settings import MetaSettings
from dsa_edge.exporters.training.meta._users import Population
from dsa_edge.gate import Gate

__all__ = ["Round", "State", "key_of", "load_state", "save_state"]


@dataclass(frozen=True)
class Round:
    """One round: which users, and the mean loss of their first and last inner batch."""

    users: tuple[str, ...]
    before: float
    after: float


@dataclass
class State:
    """What has been done: the start so far φ (n,), its optimizer's memory, the rounds.

    points: (K, n) of the users that were adapted after the last round, one after the other.
    gate: of several blocks, once it was made; policy: what a gate that learns remembers.
    """

    phi: Tensor
    memory: dict[str, Tensor]
    rounds: list[Round] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)
    gate: Gate | None = None
    policy: dict[str, Tensor] = field(default_factory=dict)


def key_of(host: Host, population: Population, settings: MetaSettings) -> str:
    """What a state belongs to, in hex: the same base, users, examples and settings."""
    told = [
        [user.key, [[e.prompt, e.response, e.choices, e.ends] for e in user.examples]]
        for user in (*population.seen, *population.unseen)
    ]
    what = [host.identity, asdict(settings), told, host.device.type]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def save_state(path: Path, state: State, key: str) -> None:
    """Write a state."""
    from safetensors.torch import save

    points = {f"points.{at}": points for at, points in enumerate(state.points)}
    memory = {f"memory.{name}": tensor for name, tensor in state.memory.items()}
    policy = {f"policy.{name}": tensor for name, tensor in state.policy.items()}
    tensors = {"phi": state.phi, **memory, **points, **policy}
    told = {"key": key, "rounds": json.dumps([asdict(done) for done in state.rounds])}
    if state.gate is not None:
        tensors["gate"] = torch.from_numpy(state.gate.table)
        told["served"] = json.dumps(state.gate.served)
    write_atomic(path, save({n: t.cpu().contiguous() for n, t in tensors.items()}, told))


def load_state(path: Path, state: State, key: str) -> State:
    """The state of a file, or the one given where there is no file.

    Raises UsageError for the state of another run, AdapterError for a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return state
    try:
        with safe_open(path, framework="pt") as opened:
            told = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        rounds = [_round(done) for done in json.loads(told["rounds"])]
        table = tensors.get("gate")
        gate = None if table is None else Gate.read(table.numpy(), json.loads(told["served"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise AdapterError(
            f"{path}, left of an interrupted run, cannot be read ({error}): delete it to begin "
            "anew."
        ) from error
    if told.get("key") != key:
        raise UsageError(
            f"{path} was left by an interrupted run with other users or settings: run that one to "
            "its end, or delete the file to begin anew."
        )
    device = state.phi.device
    points = _named(tensors, "points.")
    return State(
        tensors["phi"].to(device), _named(tensors, "memory."), rounds,
        [points[str(at)].to(device) for at in range(len(points))], gate, _named(tensors, "policy."),
    )  # fmt: skip


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _round(told: dict[str, object]) -> Round:
    users = told["users"]
    assert isinstance(users, Sequence)
    return Round(tuple(map(str, users)), float(str(told["before"])), float(str(told["after"])))
