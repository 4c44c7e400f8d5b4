"""Which gate a fit uses, and what it says of the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dsa_edge.clusters import clustered, scattered
from dsa_edge.errors import PrivacyError
from dsa_edge.gate import Gate
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._trainer import hold_out

__all__ = ["counted", "served_examples", "settled_gate"]

SHOWN = 5  # examples of a block that a report names


def settled_gate(
    objective: Objective, old: Gate | None, manifest: Manifest, seed: int, private: bool,
    scratch: bool = False,
) -> Gate | None:  # fmt: skip
    """Route an objective's examples by the gate in use, or by one that is made of their prompts.

    The examples that the fit will hold out have no say in it. private: nothing may be read of the
    prompts that leaves the fit, not even how many a block serves. scratch: where there is none yet,
    make one without meaning, for a fit that learns it.
    Returns the gate, None where there is one block. Raises PrivacyError without a gate in private.
    """
    blocks = manifest.adapter.blocks
    if blocks == 1:
        return None
    if private and old is None:
        raise PrivacyError(
            "a gate would be made of the private prompts themselves, expected one that is there: "
            "fit without privacy on prompts that are not private first, or load an adapter."
        )
    train, _ = hold_out(len(objective), seed)
    make = scattered if scratch else clustered
    gate = old or make(objective.pooled[train], blocks, seed)
    objective.route_by(gate)
    return gate if private else counted(objective, gate)


def counted(objective: Objective, gate: Gate) -> Gate:
    """A gate with how many of an objective's prompts each block serves; they are then routed so."""
    objective.route_by(gate)
    assert objective.routes is not None
    return replace(gate, served=objective.routes.served(gate.blocks))


def served_examples(
    objective: Objective, places: Mapping[str, int], ids: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """The first few examples that each block serves, by their places among those given.

    places: of those that were given, by id. ids: of the objective's examples, old ones among them.
    """
    assert objective.routes is not None
    own: list[set[int]] = [set() for _ in range(objective.blocks)]
    for key, route in zip(ids, objective.routes.index.tolist(), strict=False):
        for block in route if key in places else ():
            own[block].add(places[key])
    return tuple(tuple(sorted(found)[:SHOWN]) for found in own)
