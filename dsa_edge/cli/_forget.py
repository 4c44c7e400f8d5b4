"""`dsa-edge forget`: delete what was learned, all of it or from some examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from dsa_edge.cli._common import (
    add_examples,
    add_user,
    comma_list,
    emit,
    labels_of,
    open_versions,
    parser,
)
from dsa_edge.errors import UsageError

if TYPE_CHECKING:
    from dsa_edge.bundle import Bundle
    from dsa_edge.examples import Chat
    from dsa_edge.runtime._versions import Forgotten, Versions

__all__ = ["main"]

DESCRIPTION = """Delete what was learned: all of it, or all that came from some examples.

Versions that may have learned from an example are deleted, with all learned on top of them; the
nearest version before is then in use. Nothing is asked, and nothing can be undone."""
EXAMPLES = """\
  dsa-edge forget smol.dsa --store me/                          # all of it
  dsa-edge forget smol.dsa --store me/ --data mistakes.jsonl
  dsa-edge forget smol.dsa --store me/ --data reviews.jsonl \\
      --template '{text} It was' --labels terrible,great        # as they were learned
  dsa-edge forget smol.dsa --store me/ --examples 0f3a52d1c4b69e87,5b1c09d2e3f4a687"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("forget", DESCRIPTION, EXAMPLES)
    add_user(made)
    made.add_argument(
        "--examples", metavar="ID[,ID]", help="as `dsa-edge history --examples` lists them"
    )
    add_examples(made, required=False)
    arguments = made.parse_args(argv)
    with open_versions(arguments) as me:
        ids = _ids(arguments, me)
        known = None if ids is None else len(ids & me.known_examples())
        gone = me.forget(None if ids is None else sorted(ids))
    data: dict[str, Any] = {"versions": gone.versions, "active": gone.active, "known": known}
    data["unknown"] = None if ids is None or known is None else len(ids) - known
    emit(arguments, data, _text(gone, known, data["unknown"]))
    return 0


def _ids(arguments: argparse.Namespace, me: Versions) -> set[str] | None:
    """The ids of --examples and --data; None where neither is given."""
    if arguments.data is None and (arguments.template or arguments.labels):
        raise UsageError("--template and --labels say how to read --data: give that file as well.")
    ids = set(comma_list(arguments.examples or ""))
    if arguments.examples is not None and not ids:
        raise UsageError("--examples names no id: give one or more, or leave it out to forget all.")
    if arguments.data is None:
        return ids if arguments.examples is not None else None
    from dsa_edge.examples import read_examples

    plain, chat = _as_learned(me.bundle)
    examples = read_examples(arguments.data, labels_of(arguments, plain), chat)
    return ids | {me.example_id(example) for example in examples}


def _as_learned(bundle: Bundle) -> tuple[Callable[[str], str], Chat]:
    """What texts and chats went through; the tokenizer is read for the first one."""
    from dsa_edge.tokenizer import Tokenizer

    tokenizer = cache(lambda: Tokenizer.of(bundle))
    return (
        lambda text: tokenizer().plain(text),
        lambda messages, generate: tokenizer().chat(messages, generate),
    )


def _text(gone: Forgotten, known: int | None, unknown: int | None) -> str:
    used = f"version {gone.active}" if gone.active else "the bundle's initial adapter"
    if known is None:
        return "forgotten; the bundle's initial adapter is in use"
    lines = [f"{known} examples are forgotten; {used} is in use"]
    if gone.versions:
        which = ", ".join(map(str, gone.versions))
        lines.append(f"deleted versions: {which}")
        lines.append("what they knew of other examples, `dsa-edge personalize` learns again")
    if unknown:
        lines.append(
            f"{unknown} examples are not known here: if they should be, give --template and "
            "--labels as they were when they were learned"
        )
    return "\n".join(lines)
