"""`LocalGrid`: Flower's apps in this process, one client after the other, always in one order.

Flower's own simulation (`flwr run`) gives clients processes of their own, whose order nobody
knows. Here a server and a hundred clients share a loaded base, and a seed gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as Proto
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["LocalGrid", "Traffic"]

Answering = Callable[[Message, Context], Message | None]


@dataclass
class Traffic:
    """Bytes of each message on the wire: down to clients, and up from them."""

    down: list[int] = field(default_factory=list)
    up: list[int] = field(default_factory=list)


class LocalGrid(Grid):
    """A server's way to clients that are in this process.

    clients: what answers for each, a `ClientApp` or any function; one that returns None is never
    heard of. Node i is clients[i − 1], and its partition is i − 1.
    """

    def __init__(self, clients: Sequence[ClientApp | Answering]) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        self._clients = dict(enumerate(clients, start=1))
        self._replies: dict[str, Message] = {}
        self._contexts = {
            node: Context(1, node, {"partition-id": node - 1}, RecordDict(), {})
            for node in self._clients
        }
        self.traffic = Traffic()

    def serve(self, app: ServerApp) -> None:
        """Run a server until it is done."""
        app(self, Context(1, 0, {}, RecordDict(), {}))

    def set_run(self, run: Run) -> None:
        """There is one run."""

    @property
    def run(self) -> Run:
        """The run, of nobody."""
        return Run.create_empty(1)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str,
        ttl: float | None = None,
    ) -> Message:  # fmt: skip
        """A message to a client."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All clients."""
        return list(self._clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let clients answer; returns ids to pull the answers by."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers that came."""
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Let clients answer, and return the answers that came."""
        return self.pull_messages(self.push_messages(messages))

    def _push(self, message: Message) -> str:
        key, node = str(uuid4()), message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = key
        reply = self._clients[node](_sent(message, self.traffic.down), self._contexts[node])
        if reply is not None:
            self._replies[key] = _sent(reply, self.traffic.up)
        return key


def _sent(message: Message, sizes: list[int]) -> Message:
    """A message as the other side gets it; its bytes in protobuf are noted."""
    data = message_to_proto(message).SerializeToString()
    sizes.append(len(data))
    return message_from_proto(Proto.FromString(data))
