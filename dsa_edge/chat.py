"""A chat template in parts: the texts around what messages say, for devices without Jinja.

    parts.render([{"role": "user", "content": "Hello"}], tokenizer.plain)

Most templates put the same texts around contents that depend on the roles alone: on that of a
message and of the one before it. An export finds these texts and checks that joining them gives
what Jinja renders (`exporters/_chat.py`); what it could not check is refused here, never rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsa_edge.errors import ExampleError

__all__ = ["ChatParts", "Turn"]

TRIMS = ("", "left", "right", "both")


@dataclass(frozen=True)
class Turn:
    """What stands before a message of one role that follows one of another.

    after: the other role, "" where the chat begins here.
    before: all that stands between the two contents.
    trim: the sides on which the content loses white space: one of `TRIMS`.
    filled: whether the content must have something left then.
    """

    after: str
    role: str
    before: str
    trim: str = ""
    filled: bool = False

    def said(self, content: str) -> str:
        """A message's content as it stands in the chat.

        Raises ExampleError for an empty one where the template makes something else of it.
        """
        left, right = self.trim in ("left", "both"), self.trim in ("right", "both")
        made = content.lstrip() if left else content
        made = made.rstrip() if right else made
        if self.filled and not made:
            raise ExampleError(
                f"a message of the role {self.role!r} is empty, expected a text here: give one."
            )
        return made


@dataclass(frozen=True)
class ChatParts:
    """All that rendering takes, to an assistant's next answer.

    turns: one for each pair of roles that may follow each other.
    ends: role of the last message → what follows its content.
    without: texts that a content must not hold, as the template does something about them.
    """

    turns: tuple[Turn, ...]
    ends: Mapping[str, str]
    without: tuple[str, ...] = ()

    def render(self, messages: Sequence[Mapping[str, str]], plain: Callable[[str], str]) -> str:
        """The chat as a prompt, as the template renders it with the opening of an answer.

        plain: what contents go through first, as a tokenizer has it.
        Raises ExampleError for roles, orders and contents that were not checked.
        """
        made, last = "", ""
        for message in messages:
            turn = self._turn(last, message["role"])
            content = plain(message["content"])
            if any(text in content for text in self.without):
                raise ExampleError("a content holds what the chat template changes: leave it out.")
            made, last = made + turn.before + turn.said(content), turn.role
        if last not in self.ends:
            raise ExampleError(
                f"a chat that ends with {last!r} is not rendered: end with one of "
                f"{', '.join(self.ends)}."
            )
        return made + self.ends[last]

    def accepts(self, roles: Sequence[str]) -> bool:
        """Whether messages of these roles, in this order, are rendered."""
        known = {(turn.after, turn.role) for turn in self.turns}
        pairs = zip(("", *roles[:-1]), roles, strict=True)
        return bool(roles) and roles[-1] in self.ends and all(pair in known for pair in pairs)

    def _turn(self, after: str, role: str) -> Turn:
        for turn in self.turns:
            if (turn.after, turn.role) == (after, role):
                return turn
        raise ExampleError(
            f"a message of the role {role!r} {'follows ' + repr(after) if after else 'is first'}, "
            "which is not rendered: correct the roles and their order."
        )

    @classmethod
    def read(cls, entry: Any) -> ChatParts | None:
        """From a manifest; raises ValueError or TypeError for what is none."""
        if entry is None:
            return None
        turns = tuple(Turn(**turn) for turn in entry["turns"])
        made = cls(turns, dict(entry["ends"]), tuple(entry["without"]))
        texts = [text for t in turns for text in (t.after, t.role, t.before)]
        texts += [*made.ends, *made.ends.values(), *made.without]
        right = all(t.trim in TRIMS and type(t.filled) is bool for t in turns)
        right = right and isinstance(entry["turns"], list) and isinstance(entry["without"], list)
        if not right or not all(isinstance(text, str) for text in texts) or "" in made.without:
            raise ValueError("the parts of its chat template are none")
        return made
