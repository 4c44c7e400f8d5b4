"""The Java program `Drive` over the real native runner, and what tests give it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dsa_edge.runtime import Example, Personalizer

CHOICES = (" terrible", " great")
EXAMPLES = [
    Example(f"{text} It was", CHOICES[i % 2], CHOICES)
    for i, text in enumerate(["two hours wasted", "a joy 😀", 'he said "no"', "fine"] * 6)
]
# What is withdrawn from root as from anyone: `chmod 0` means something then.
NO_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


class Drive:
    """`Drive` over one bundle."""

    def __init__(self, bundle: Path, built: Path, core: Path) -> None:
        self.bundle, self.parts = bundle, (built, core)
        self._java = ["-Xcheck:jni", "-XX:-UsePerfData", f"-Djava.library.path={built}", "-cp"]
        self._java += [str(core / "classes"), "dev.dsaedge.Drive"]

    def command(
        self, store: Path | str, *verb: str | int | Path, given: tuple[str, ...] = ()
    ) -> list[str]:
        """The command of a verb; given: Java's properties."""
        return ["java", *given, *self._java, str(self.bundle), str(store), *map(str, verb)]

    def __call__(
        self, store: Path | str, *verb: str | int | Path, given: tuple[str, ...] = ()
    ) -> list[str]:
        """The lines of a verb that works."""
        command = self.command(store, *verb, given=given)
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout
        return done.stdout.splitlines()

    def refused(
        self, store: Path | str, *verb: str | int | Path, given: tuple[str, ...] = ()
    ) -> tuple[str, str]:
        """Type and sentence of the exception that a verb ends with."""
        command = self.command(store, *verb, given=given)
        if os.geteuid() == 0:
            command = [*NO_OVERRIDE, *command]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return sentence(done.stdout)


def sentence(said: str) -> tuple[str, str]:
    """The exception in the last line of what `Drive` said: a sentence that an app can show."""
    kind, told = said.splitlines()[-1].split(": ", 1)
    assert kind.endswith("Exception"), said
    assert told.endswith("."), told
    return kind, told


def python(java: Drive, store: Path) -> Personalizer:
    """Python on the same files."""
    return Personalizer.open(java.bundle, store, backend="executorch", threads=1)
