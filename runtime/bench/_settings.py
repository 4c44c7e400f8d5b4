"""What is measured, in numbers; the same on every target and for every program that measures."""

from __future__ import annotations

import argparse
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
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least {least}.")
        if self.lanes % 2:
            raise UsageError(f"lanes is {self.lanes}, expected an even number: lanes are pairs.")

    def arguments(self) -> list[str]:
        """The options that say this on a command line."""
        return [
            word
            for name, value in asdict(self).items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """The options of a command line."""
        for field in fields(cls):
            if field.name in HELP:
                option = f"--{field.name.replace('_', '-')}"
                said = f"{HELP[field.name]} (default: {field.default})"
                parser.add_argument(option, type=int, default=field.default, help=said, metavar="N")
        parser.add_argument("--backend", default="auto", help="auto, onnx or executorch")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Settings:
        """What a command line said."""
        return cls(**{field.name: getattr(arguments, field.name) for field in fields(cls)})


def parse(argv: Sequence[str]) -> tuple[str, str, Settings]:
    """Bundle, pass and settings of the command that measures on a device."""
    made = argparse.ArgumentParser(prog="python -m dsa_edge.runtime.bench")
    made.add_argument("bundle")
    made.add_argument("--pass", dest="which", choices=PASSES, required=True)
    Settings.add_to(made)
    found = made.parse_args(argv)
    return found.bundle, found.which, Settings.of(found)
