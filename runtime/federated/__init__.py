"""Devices of one organisation improve the start of the next bundle; texts stay where they are.

from dsa_edge.runtime.federated import client_app, server_app  # dsa-edge[federated]
app = client_app(lambda context: (base, examples))
app = server_app("smol.dsa", start="start.safetensors")

docs/federation.md has what goes over the wire, and what a server can learn of it.
"""

from __future__ import annotations

import importlib
from typing import Any

from dsa_edge.errors import MissingDependencyError
from dsa_edge.runtime.federated._local import local_update
from dsa_edge.runtime.federated._round import Limits, Round
from dsa_edge.runtime.federated._update import Update

# What needs Flower, and where it is; all else works without.
_FLOWER = {
    "LocalGrid": "_grid",
    "MetaStep": "_strategy",
    "client_app": "_client",
    "sampling": "_server",
    "secure_server_app": "_secure",
    "server_app": "_server",
}

__all__ = [
    "Limits",
    "LocalGrid",
    "MetaStep",
    "Round",
    "Update",
    "client_app",
    "local_update",
    "sampling",
    "secure_server_app",
    "server_app",
]


def __getattr__(name: str) -> Any:
    """The parts that need Flower, loaded when first asked for."""
    if name not in _FLOWER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_FLOWER[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "flwr":
            raise
        raise MissingDependencyError("flwr", "federated", "federation") from error
    return getattr(module, name)
