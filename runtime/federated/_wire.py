"""What goes over the wire: one record of bytes, whatever Flower's mods made of the values."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from dsa_edge.errors import FederationError
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated._records import REQUEST, UPDATE
from dsa_edge.runtime.federated._round import FORMAT, Limits, Round
from dsa_edge.runtime.federated._update import packed

__all__ = ["array_of", "entered", "wire_mod"]

STATE = "dsa-edge"  # where Flower keeps how many rounds this client has done


def wire_mod(limits: Limits) -> Mod:
    """The outermost mod of a client: reads a request, and packs the reply as int16."""

    def wire(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        asked = entered(message.content, message, context, limits)
        return _packed(call_next(message, context), asked, message)

    return wire


def entered(content: RecordDict, message: Message, context: Context, limits: Limits) -> Round:
    """The round of a request, which counts from now on as done.

    The message then holds the request and, for mods that compare, values of nothing so far (K,).
    Raises FederationError for another request, and one beyond the limits.
    """
    if list(content) != [REQUEST] or not content.config_records:
        raise FederationError(
            f"the request has {list(content)[:4]}, expected {REQUEST!r} alone: install the same "
            "dsa-edge on both."
        )
    asked = Round.from_dict(content.config_records[REQUEST])
    done = int(str(context.state.config_records.get(STATE, {"rounds": 0})["rounds"]))
    limits.check(asked, done)
    context.state[STATE] = ConfigRecord({"rounds": done + 1})
    nothing = array_of(np.zeros(asked.size, dtype=np.float32))
    message.content = RecordDict({REQUEST: content.config_records[REQUEST], UPDATE: nothing})
    return asked


def array_of(values: Floats) -> ArrayRecord:
    """Values (K,) as Flower's mods expect them."""
    return ArrayRecord({UPDATE: Array(values)})


def _packed(reply: Message, asked: Round, message: Message) -> Message:
    """A reply as it is sent."""
    if reply.has_error():
        return reply
    values = reply.content.array_records[UPDATE][UPDATE].numpy()
    said = reply.content.metric_records["metrics"]
    told = ConfigRecord({
        "format": FORMAT, "bundle": asked.bundle[:16], "values": packed(values),
        "share": float(str(said["share"])), "steps": int(str(said["steps"])),
    })  # fmt: skip
    return Message(RecordDict({UPDATE: told}), reply_to=message)
