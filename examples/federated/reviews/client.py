"""A device: its base is loaded once, its examples are read where they lie."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from flwr.app import Context

from dsa_edge.demo import LABELS
from dsa_edge.runtime import Example, SharedBase, read_examples
from dsa_edge.runtime.federated import Limits, client_app


@lru_cache(maxsize=1)
def base(bundle: str) -> SharedBase:
    """The loaded bundle, one for all rounds of this process."""
    return SharedBase.open(bundle)


def participant(context: Context) -> tuple[SharedBase, list[Example]]:
    """The base and the examples of this device.

    On a device both are named by its own `--node-config`. What a server may set (the run's
    configuration) is read in a simulation alone: a server must not choose what is read.
    """
    own = context.node_config
    if "partition-id" not in own:
        return base(str(own["bundle"])), read_examples(Path(str(own["examples"])), labels=LABELS)
    shared = context.run_config
    file = Path(str(shared["users"])) / f"{own['partition-id']}.jsonl"
    return base(str(shared["bundle"])), read_examples(file, labels=LABELS)


app = client_app(participant, Limits(rounds=50))
