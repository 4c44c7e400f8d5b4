"""The client as a Flower app: it answers one kind of request, and no answer holds a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import WARNING

from flwr.app import Context, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from flwr.common.constant import ErrorCode
from flwr.common.logger import log

from dsa_edge.errors import FederationError
from dsa_edge.examples import Example
from dsa_edge.runtime.federated._local import check_bundle, local_update, read_start
from dsa_edge.runtime.federated._records import REQUEST, UPDATE
from dsa_edge.runtime.federated._round import Limits, Round
from dsa_edge.runtime.federated._wire import array_of, wire_mod
from dsa_edge.runtime.shared import SharedBase

__all__ = ["Participant", "client_app"]

Participant = Callable[[Context], tuple[SharedBase, Sequence[Example]]]


def client_app(
    participant: Participant,
    limits: Limits | None = None,
    mods: Sequence[Mod] = (),
    secure: bool = False,
) -> ClientApp:
    """A Flower client whose update is a few steps on the user's own examples.

    participant: called for each round; returns the loaded base, which stays open, and examples.
    limits: what a server may ask for. mods: Flower's own, such as `LocalDpMod`; they see values
    (K,) in −1 … 1 as float32, of which the server asked zeros, and what they make of them is sent
    as int16. secure: updates are masked, for a `secure_server_app`.
    """
    own = limits or Limits()
    app = _OneRequest(mods=[*_outer(own, secure), *mods])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        told = message.content.config_records[REQUEST]
        asked, (base, examples) = Round.from_dict(told), participant(context)
        check_bundle(base.bundle.manifest, asked)
        start = read_start(told.get("start"), base.bundle.manifest.adapter_size)
        node = message.metadata.dst_node_id
        update = local_update(base, examples, start, asked, node, own.budget)
        said = MetricRecord({"num-examples": 1, "share": update.share, "steps": update.steps})
        content = RecordDict({UPDATE: array_of(update.values), "metrics": said})
        return Message(content, reply_to=message)

    return app


def _outer(limits: Limits, secure: bool) -> list[Mod]:
    """The mods that speak with the server."""
    if not secure:
        return [wire_mod(limits)]
    from dsa_edge.runtime.federated._secure import secure_mods

    return secure_mods(limits)


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


def _refusal(message: Message, why: str) -> Message:
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, why), reply_to=message)
