"""The client as a Flower app: it answers one kind of request, and no answer holds a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import WARNING

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.common.constant import ErrorCode
from flwr.common.logger import log

from dsa_edge.errors import FederationError
from dsa_edge.examples import Example
from dsa_edge.runtime.federated._local import check_bundle, local_update, read_start
from dsa_edge.runtime.federated._records import REQUEST, UPDATE
from dsa_edge.runtime.federated._round import FORMAT, Limits, Round
from dsa_edge.runtime.federated._update import packed
from dsa_edge.runtime.shared import SharedBase

__all__ = ["Participant", "client_app"]

Participant = Callable[[Context], tuple[SharedBase, Sequence[Example]]]
STATE = "dsa-edge"  # where Flower keeps how many rounds this client has done


def client_app(
    participant: Participant, limits: Limits | None = None, mods: Sequence[Mod] = ()
) -> ClientApp:
    """A Flower client whose update is a few steps on the user's own examples.

    participant: called for each round; returns the loaded base, which stays open, and examples.
    limits: what a server may ask for. mods: Flower's own, such as `LocalDpMod`; they see values
    (K,) in −1 … 1 as float32, of which the server asked zeros, and what they make of them is sent
    as int16.
    """
    app = _OneRequest(mods=[_wire(limits or Limits()), *mods])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        told = message.content.config_records[REQUEST]
        asked, (base, examples) = Round.from_dict(told), participant(context)
        check_bundle(base.bundle.manifest, asked)
        start = read_start(told.get("start"), base.bundle.manifest.adapter_size)
        budget = (limits or Limits()).budget
        update = local_update(base, examples, start, asked, message.metadata.dst_node_id, budget)
        said = MetricRecord({"num-examples": 1, "share": update.share, "steps": update.steps})
        return Message(
            RecordDict({UPDATE: _array(update.values), "metrics": said}), reply_to=message
        )

    return app


class _OneRequest(ClientApp):
    """Answers `train`, and with a reason whatever else it is asked.

    Flower sends the words of an error to the server, and those of ours may quote an example: only
    errors about the request itself are told, of others no more than their kind.
    """

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a request."""
        kind = message.metadata.message_type
        if kind != MessageType.TRAIN:
            return _refusal(
                message, f"there is no request {kind!r}: this client answers "
                f"{MessageType.TRAIN!r}, with clipped scalars, and has no message for data"
            )  # fmt: skip
        try:
            return super().__call__(message, context)
        except FederationError as error:
            return _refusal(message, str(error))
        except Exception as error:
            log(WARNING, "this client left the round: %s", error)
            return _refusal(message, f"it left the round with {type(error).__name__}")


def _wire(limits: Limits) -> Mod:
    """The outermost mod: what is sent is one record of bytes, whatever the others made of it."""

    def wire(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if list(message.content) != [REQUEST] or not message.content.config_records:
            raise FederationError(
                f"the request has {list(message.content)[:4]}, expected {REQUEST!r}"
            )
        asked = Round.from_dict(message.content.config_records[REQUEST])
        done = context.state.config_records.get(STATE, ConfigRecord({"rounds": 0}))
        limits.check(asked, int(str(done["rounds"])))
        nothing = _array(np.zeros(asked.size, dtype=np.float32))
        message.content = RecordDict({**message.content, UPDATE: nothing})
        context.state[STATE] = ConfigRecord({"rounds": int(str(done["rounds"])) + 1})
        return _sent(call_next(message, context), asked, message)

    return wire


def _sent(reply: Message, asked: Round, message: Message) -> Message:
    """A reply as it goes over the wire."""
    if reply.has_error():
        return reply
    values = reply.content.array_records[UPDATE][UPDATE].numpy()
    said = reply.content.metric_records["metrics"]
    told = ConfigRecord({
        "format": FORMAT, "bundle": asked.bundle[:16], "values": packed(values),
        "share": float(str(said["share"])), "steps": int(str(said["steps"])),
    })  # fmt: skip
    return Message(RecordDict({UPDATE: told}), reply_to=message)


def _array(values: np.ndarray) -> ArrayRecord:
    return ArrayRecord({UPDATE: Array(values)})


def _refusal(message: Message, why: str) -> Message:
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, why), reply_to=message)
