"""Takes a chat template apart: which texts stand around contents, and whether that is all of it.

`take_apart` renders short chats whose contents are marks, and finds between the marks what the
template puts there. Then it tries to be wrong: seeded chats of all the roles and orders that it
would render, with empty and padded contents, odd characters, special tokens, and the template's
own words, must be joined from the parts exactly as Jinja renders them. Where that fails for some
roles or orders, fewer are tried; where it fails for all, there are no parts.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product

from dsa_edge.chat import TRIMS, ChatParts, Turn
from dsa_edge.errors import DsaEdgeError, ExampleError
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.tokenizer import Tokenizer

__all__ = ["take_apart"]

Shape = tuple[str, ...]  # the roles of a chat
Pieces = tuple[str, ...]  # what is rendered before each content, and after the last

ROLES = ("system", "user", "assistant")
SHAPES: list[Shape] = [shape for n in range(1, 5) for shape in product(ROLES, repeat=n)]
PADDING = " \n\u00a0\x1c\t"  # white space to Python's strip, and not to one of blanks alone
CHATS = 400  # random ones that must be equal
SPECIAL = 8  # special tokens that contents have
LONGEST = 9  # messages of a random one
PAIRED = 40  # of the template's own texts, tried two in one content
SECONDS = 30.0  # after which a template is too slow to be tried on so many chats
MOST = 2**20  # characters of all parts
ODD = (
    "", " ", "\n", "\t \n", "\r\n", "\u00a0", "\u2028", "\u200b", "\x00", "\x1c", "a", "Hello",
    " world", "it's", '"', "&<>", "{{ x }}", "{% if x %}", "{# x #}", "\\n", "\\", "é", "e\u0301",
    "東京", "👩\u200d👧", "\ufeff", "<s>", "</s>", "[INST]", "<|im_end|>", "<|im_start|>user\n",
    "<think>", "</think>", "<start_of_turn>", "<|eot_id|>", "### User:\n",
)  # fmt: skip


def take_apart(content: str, info: TokenizerInfo, template: str | None) -> ChatParts | None:
    """The parts of a chat template; None without one, and for one that does more than join texts.

    content: of tokenizer.json. template: Jinja source.
    """
    if template is None:
        return None
    tokenizer, added = Tokenizer(content, info, template), json.loads(content)["added_tokens"]
    special = [token["content"] for token in added if token["special"]][:SPECIAL]
    try:
        return _Apart(tokenizer, _words(template), special).parts()
    except _TooSlowError:
        return None


class _TooSlowError(Exception):
    """The template takes so long that it cannot be checked."""


class _Apart:
    """One template on its way apart."""

    def __init__(self, tokenizer: Tokenizer, words: Sequence[str], special: Sequence[str]) -> None:
        self._chat, self._plain = tokenizer.chat, lru_cache(2**14)(tokenizer.plain)
        self._words, self._special = words, special
        self._until = time.monotonic() + SECONDS

    def parts(self) -> ChatParts | None:
        """The parts with most roles and orders that pass all checks."""
        rendered = {shape: self._pieces(shape) for shape in SHAPES}
        for allowed in _ORDERS:
            made = _joined({s: rendered[s] for s in SHAPES if allowed(s)})
            # A shape that the pairs of others allow must be one that was rendered.
            if made is None or any(made.accepts(s) and rendered[s] is None for s in SHAPES):
                continue
            made = self._with_contents(made)
            made = made and replace(made, without=tuple(self._changed(made)))
            if made and self._holds(made):
                return made
        return None

    def _render(self, shape: Shape, contents: Sequence[str]) -> str | None:
        """What the template makes of a chat; None where it refuses."""
        if time.monotonic() > self._until:
            raise _TooSlowError
        try:
            return self._chat(_messages(shape, contents), True)
        except DsaEdgeError:
            return None

    def _pieces(self, shape: Shape) -> Pieces | None:
        """Texts around contents; None where these are not all there, in order and once."""
        marks = [f"qjx{at}xjq" for at in range(len(shape))]
        left = self._render(shape, marks)
        pieces = []
        for mark in marks:
            if left is None or left.count(mark) != 1:
                return None
            piece, _, left = left.partition(mark)
            pieces.append(piece)
        return None if left is None else (*pieces, left)

    def _differs(self, parts: ChatParts, shape: Shape, contents: Sequence[str]) -> bool:
        """Whether the parts render a chat, and otherwise than the template."""
        made = self._joined(parts, shape, contents)
        return made is not None and made != self._render(shape, contents)

    def _joined(self, parts: ChatParts, shape: Shape, contents: Sequence[str]) -> str | None:
        """What the parts make of a chat; None where they refuse."""
        try:
            return parts.render(_messages(shape, contents), self._plain)
        except ExampleError:
            return None

    def _with_contents(self, parts: ChatParts) -> ChatParts | None:
        """The parts with what each turn does to its content; None where that is something else."""
        for at, turn in enumerate(parts.turns):
            for trim, filled in product(TRIMS, (False, True)):
                tried = replace(turn, trim=trim, filled=filled)
                made = replace(parts, turns=(*parts.turns[:at], tried, *parts.turns[at + 1 :]))
                if not self._misreads(made, tried):
                    parts = made
                    break
            else:
                return None
        return parts

    def _misreads(self, parts: ChatParts, turn: Turn) -> bool:
        """Whether a content of this turn is rendered otherwise, padded or empty."""
        shape, at = next(_places(parts, turn))
        for content in (f"{PADDING}x{PADDING}", "", PADDING):
            contents = ["x"] * len(shape)
            contents[at] = content
            if self._differs(parts, shape, contents):
                return True
        return False

    def _changed(self, parts: ChatParts) -> list[str]:
        """The template's own texts that it does something about within a content."""
        shapes = _covering(parts)

        def differs(*contents: str) -> bool:
            return any(self._differs(parts, s, [c] * len(s)) for s, c in product(shapes, contents))

        found: list[str] = []

        def left() -> list[str]:
            return [w for w in self._words if not any(other in w for other in found)]

        for word in self._words:  # short ones first: what holds one of them need not be told
            if word in left() and differs(word, f"x{word}", f"{word}x", f"x{word}x"):
                found.append(word)
        marks = [word for word in left() if len(word) > 2 and not word.isalnum()][:PAIRED]
        for first, second in product(marks, marks):
            if first not in found and second not in found and differs(f"{first}x{second}"):
                found.append(first)
        return found

    def _holds(self, parts: ChatParts) -> bool:
        """Whether random chats are rendered alike, and enough of them at all."""
        size = sum(len(turn.before) for turn in parts.turns) + sum(map(len, parts.ends.values()))
        if size > MOST or any(len(text.strip()) < 3 for text in parts.without):
            return False
        draw, rendered = random.Random(0), 0
        for _ in range(CHATS):
            shape = _walk(parts, draw)
            contents = [self._content(draw) for _ in shape]
            if self._differs(parts, shape, contents):
                return False
            rendered += self._joined(parts, shape, contents) is not None
        return rendered >= CHATS // 4

    def _content(self, draw: random.Random) -> str:
        some = [*ODD, *self._special, *self._words]
        return "".join(draw.choice(some) for _ in range(draw.randint(0, 4)))


def _joined(rendered: dict[Shape, Pieces | None]) -> ChatParts | None:
    """Turns and ends of these chats; None where the same roles have different texts around them."""
    turns: dict[tuple[str, str], set[str]] = {}
    ends: dict[str, set[str]] = {}
    for shape, pieces in rendered.items():
        if pieces is None:
            continue
        for after, role, text in zip(("", *shape), shape, pieces, strict=False):
            turns.setdefault((after, role), set()).add(text)
        ends.setdefault(shape[-1], set()).add(pieces[-1])
    if not turns or any(len(texts) > 1 for texts in (*turns.values(), *ends.values())):
        return None
    return ChatParts(
        tuple(Turn(after, role, min(texts)) for (after, role), texts in turns.items()),
        {role: min(texts) for role, texts in ends.items()},
    )


def _alternates(shape: Shape) -> bool:
    """Whether user and assistant take turns, behind a system message or none."""
    turns = shape[1:] if shape[0] == "system" else shape
    return bool(turns) and all(r == ("user", "assistant")[i % 2] for i, r in enumerate(turns))


# Which chats are tried, most of them first.
_ORDERS: tuple[Callable[[Shape], bool], ...] = (
    lambda shape: True,
    lambda shape: shape[-1] == "user",
    _alternates,
    lambda shape: _alternates(shape) and shape[-1] == "user",
    lambda shape: "system" not in shape,
    lambda shape: "system" not in shape and shape[-1] == "user",
    lambda shape: "system" not in shape and _alternates(shape),
    lambda shape: "system" not in shape and _alternates(shape) and shape[-1] == "user",
)


def _places(parts: ChatParts, turn: Turn) -> Iterator[tuple[Shape, int]]:
    """Chats that have a turn, and where."""
    for shape in filter(parts.accepts, SHAPES):
        for at, pair in enumerate(zip(("", *shape), shape, strict=False)):
            if pair == (turn.after, turn.role):
                yield shape, at


def _covering(parts: ChatParts) -> list[Shape]:
    """A few chats in which every turn comes, long ones first."""
    left, chosen = {(turn.after, turn.role) for turn in parts.turns}, []
    for shape in reversed([*filter(parts.accepts, SHAPES)]):
        pairs = {*zip(("", *shape), shape, strict=False)}
        if pairs & left:
            chosen.append(shape)
            left -= pairs
    return chosen


def _walk(parts: ChatParts, draw: random.Random) -> Shape:
    """The roles of a random chat that the parts render."""
    while True:
        shape: Shape = ()
        for _ in range(draw.randint(1, LONGEST)):
            last = shape[-1] if shape else ""
            roles = [turn.role for turn in parts.turns if turn.after == last]
            if not roles:
                break
            shape = (*shape, draw.choice(roles))
        if shape and shape[-1] in parts.ends:
            return shape


def _messages(shape: Shape, contents: Sequence[str]) -> list[dict[str, str]]:
    said = zip(shape, contents, strict=True)
    return [{"role": role, "content": content} for role, content in said]


def _words(template: str) -> list[str]:
    """Texts that a template has in it, which it may look for; none of what is no template."""
    from jinja2 import Environment, TemplateError, nodes

    try:
        tree = Environment().parse(template)
    except TemplateError:
        return []
    found = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    found |= {node.data for node in tree.find_all(nodes.TemplateData)}
    parts = {word for text in found for word in (text, text.strip(), *text.split())}
    return sorted(filter(str.strip, parts), key=lambda word: (len(word), word))[:200]
