"""Names of Flower's records, and what a reply says."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Message

from dsa_edge.errors import FederationError

__all__ = ["ADAPTER", "REQUEST", "UPDATE", "reply_fields"]

ADAPTER, REQUEST, UPDATE = "adapter", "round", "update"


def reply_fields(reply: Message) -> Mapping[str, object]:
    """What a client says of its update.

    Raises FederationError for an error, and for other records than the one of an update.
    """
    if reply.has_error():
        raise FederationError(reply.error.reason or f"it failed with code {reply.error.code}")
    if list(reply.content) != [UPDATE] or UPDATE not in reply.content.config_records:
        raise FederationError(f"it sent {sorted(reply.content)[:4]}, expected {UPDATE!r} alone")
    return reply.content.config_records[UPDATE]
