"""What is measured, in numbers; the same on every target and for every program that measures."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from dsa_edge.errors import UsageError

__all__ = ["PASSES", "Settings", "parse"]

PASSES = ("time", "memory")
HELP = {
    "prompt_tokens": "tokens of the prompt that is timed",
    "new_tokens": "tokens that are generated",
    "lanes": "perturbed copies of the adapter in a step",
    "batch": "examples in a step",
    "warmup": "runs of each kind before those that count",
    "repeats": "runs of each kind that count",
    "threads": "of the engine; 0: all cores",
}


@dataclass(frozen=True)
class Settings:
    """What is measured.

    prompt_tokens: of the prompt; new_tokens: generated after it. lanes, batch: of a step.
    warmup, repeats: runs of each kind before those that count, and that count.
    threads: of the engine; 0 takes all cores. backend: auto, onnx or executorch.
    """

    prompt_tokens: int = 128
    new_tokens: int = 32
    lanes: int = 16
    batch: int = 16
    warmup: int = 2
    repeats: int = 7
    threads: int = 0
    backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuse numbers that nothing could be measured with."""
        for name, least in (
            ("prompt_tokens", 1), ("new_tokens", 2), ("lanes", 2), ("batch", 1), ("warmup", 0),
            ("repeats", 2), ("threads", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, expected at least {least}: ask for more."
                )
        if self.lanes % 2:
            raise UsageError(
                f"lanes is {self.lanes}, expected an even number: lanes are pairs, so ask for "
                f"{self.lanes + 1}."
            )

    def check_fits(self, positions: int) -> None:
        """Raises UsageError where prompt and new tokens are more than a base has positions."""
        room = positions - self.new_tokens - 1
        if self.prompt_tokens > room:
            raise UsageError(
                f"prompt_tokens is {self.prompt_tokens}, this base has room for {room} before "
                f"{self.new_tokens} new ones: ask for fewer."
            )

    def arguments(self) -> list[str]:
        """The options that say this on a command line."""
        return [
            word
            for name, value in asdict(self).items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser, lists: bool = False) -> None:
        """The options of a command line; lists: each takes several values, between commas."""
        for field in fields(cls):
            if field.name in HELP:
                option = f"--{field.name.replace('_', '-')}"
                said = f"{HELP[field.name]} (default: {field.default})"
                parser.add_argument(
                    option, type=_numbers if lists else int, default=str(field.default),
                    help=said, metavar="N[,N…]" if lists else "N",
                )  # fmt: skip
        parser.add_argument(
            "--backend", type=_words if lists else str, default="auto",
            help="auto, onnx or executorch" + (", or several" if lists else ""),
        )  # fmt: skip

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Settings:
        """What a command line said."""
        return cls(**{field.name: getattr(arguments, field.name) for field in fields(cls)})

    @classmethod
    def grid(cls, arguments: argparse.Namespace) -> list[Settings]:
        """Every combination of what a command line listed; the last option changes first."""
        lists = [getattr(arguments, field.name) for field in fields(cls)]
        return [cls(*values) for values in itertools.product(*lists)]


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",")))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(map(int, text.split(","))))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers: give them between commas, as 64,128."
        ) from None


def parse(argv: Sequence[str]) -> tuple[str, str, Settings]:
    """Bundle, pass and settings of the command that measures on a device."""
    made = argparse.ArgumentParser(prog="python -m dsa_edge.runtime.bench")
    made.add_argument("bundle")
    made.add_argument("--pass", dest="which", choices=PASSES, required=True)
    Settings.add_to(made)
    found = made.parse_args(argv)
    return found.bundle, found.which, Settings.of(found)
