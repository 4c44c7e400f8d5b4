"""What a base answers before and after a fit, to some of the user's own prompts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from dsa_edge.cli._html import BeforeAfter
from dsa_edge.errors import DsaEdgeError

if TYPE_CHECKING:
    from dsa_edge.runtime import Budget, Example, Personalizer, Report

__all__ = ["before_and_after"]

SHOWN = 6  # examples
TOKENS = 24  # of a free response


def before_and_after(
    me: Personalizer, examples: Sequence[Example], report: Report, version: int, budget: Budget
) -> list[BeforeAfter]:
    """Answers of `version`, from before the fit, and of the one in use, to a few examples.

    They are of those that the fit held out, which it never learned from, where it had enough.
    After a private fit there are none: what it promises does not cover them.
    """
    if report.privacy is not None:
        return []
    shown = []
    for example in _held_out(examples, report):
        with suppress(DsaEdgeError):  # a prompt that leaves no room, too little memory
            before = _answer(me, example, version, budget)
            same = me.version == version
            after = before if same else _answer(me, example, me.version, budget)
            shown.append(BeforeAfter(example.prompt, example.response, before, after))
    return shown


def _held_out(examples: Sequence[Example], report: Report) -> list[Example]:
    from dsa_edge.runtime._trainer import hold_out

    if report.examples != len(examples):  # remembered ones among them: their order is the store's
        return list(examples[:SHOWN])
    return [examples[i] for i in hold_out(len(examples), report.seed)[1][:SHOWN]]


def _answer(me: Personalizer, example: Example, version: int, budget: Budget) -> str:
    if example.choices:
        return me.choose(example.prompt, example.choices, version, budget).text
    return me.generate(example.prompt, TOKENS, version=version, budget=budget)
