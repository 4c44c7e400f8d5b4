"""Devices that a bench runs on: this machine, one that ssh reaches, one that adb reaches.

A target runs scripts of POSIX sh and takes files. The system's own `ssh` and `adb` do the rest,
with the keys and settings that they have.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from dsa_edge.errors import TargetError, UsageError

__all__ = ["Adb", "Local", "Ssh", "Target", "target_of"]

FORMS = "local, ssh:user@host, adb or adb:SERIAL"
KILLED = (137, -9)  # of a command that the system ended, as where memory is short


class Target(Protocol):
    """A device."""

    name: str

    @property
    def folder(self) -> str | None:
        """Ours on the device; None where files need not be copied."""
        ...

    def run(self, script: str, seconds: float) -> str:
        """Run a script of sh and return what it printed.

        Raises TargetError where the device cannot be reached, or the script failed or takes longer.
        """
        ...

    def push(self, source: Path, files: Sequence[str], folder: str) -> None:
        """Copy files of a folder, by their paths in it, into a folder of the device.

        Raises TargetError where that cannot be done.
        """
        ...


class Local:
    """This machine."""

    name = "local"
    folder = None

    def run(self, script: str, seconds: float) -> str:
        """See `Target`."""
        return _finished(_call(["sh", "-c", script], seconds, self.name), self.name)

    def push(self, source: Path, files: Sequence[str], folder: str) -> None:
        """See `Target`; there is nothing to copy."""


class Ssh:
    """A machine that `ssh` reaches without asking anything; host: as ssh takes it."""

    folder = ".cache/dsa-edge/bench"

    def __init__(self, host: str) -> None:
        self.name = f"ssh:{host}"
        _need("ssh", "OpenSSH")
        # No questions: nobody may be there to answer.
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]
        self._command = ["ssh", *options, "--", host]

    def run(self, script: str, seconds: float) -> str:
        """See `Target`."""
        return self._checked(_call([*self._command, script], seconds, self.name))

    def push(self, source: Path, files: Sequence[str], folder: str) -> None:
        """See `Target`; one stream of tar, so that folders and links need nothing."""
        _need("tar", "tar")
        pack = ["tar", "-C", str(source), "-cf", "-", "--", *files]
        unpack = f"mkdir -p {shlex.quote(folder)} && tar -C {shlex.quote(folder)} -xf -"
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            assert packing.stdout is not None
            done = _call([*self._command, unpack], 3600, self.name, packing.stdout)
            packing.stdout.close()  # tar ends where nobody reads any more
        self._checked(done)
        if packing.returncode:
            raise TargetError(f"files of {source} cannot be read: check their permissions.")

    def _checked(self, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode == 255:  # ssh's own errors
            raise TargetError(
                f"{self.name} cannot be reached ({_last(done.stderr)}): check that "
                f"`ssh {self.name[4:]} true` works without a question."
            )
        return _finished(done, self.name)


class Adb:
    """A phone that `adb` reaches; serial: of one of several, or None."""

    folder = "/data/local/tmp/dsa-edge"

    def __init__(self, serial: str | None) -> None:
        self.name = "adb" if serial is None else f"adb:{serial}"
        _need("adb", "Android's platform tools")
        self._command = ["adb", *(() if serial is None else ("-s", serial))]

    def run(self, script: str, seconds: float) -> str:
        """See `Target`."""
        done = _call([*self._command, "shell", script], seconds, self.name)
        return self._checked(done)

    def push(self, source: Path, files: Sequence[str], folder: str) -> None:
        """See `Target`."""
        for parent in sorted({str(Path(name).parent) for name in files}):
            there = folder if parent == "." else f"{folder}/{parent}"
            self.run(f"mkdir -p {shlex.quote(there)}", 60)
            some = [str(source / name) for name in files if str(Path(name).parent) == parent]
            self._checked(_call([*self._command, "push", *some, there], 3600, self.name))

    def _checked(self, done: subprocess.CompletedProcess[str]) -> str:
        said = done.stderr + done.stdout
        if done.returncode and re.search(
            r"(?m)^(adb: )?(error: )?.*\b(no devices|device.*(not found"
            r"|offline|unauthorized)|more than one device)",
            said,
        ):
            raise TargetError(
                f"{self.name} cannot be reached ({_last(said)}): `adb devices` must list it as "
                "`device`; name one of several with adb:SERIAL."
            )  # fmt: skip
        return _finished(done, self.name)


def target_of(text: str) -> Target:
    """The target that a command line names.

    Raises UsageError for another form, TargetError where this machine has no ssh or adb.
    """
    kind, given, rest = text.partition(":")
    if text == "local":
        return Local()
    # A name that begins with a dash would be an option of ssh or adb.
    if kind == "ssh" and re.fullmatch(r"(?!-)[\w.@:%\[\]-]+", rest):
        return Ssh(rest)
    if kind == "adb" and (not given or re.fullmatch(r"(?!-)[\w.:-]+", rest)):
        return Adb(rest or None)
    raise UsageError(f"target {text!r} is unknown: use {FORMS}.")


def _call(
    command: list[str], seconds: float, name: str, stdin: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    """Run a command; whatever ends this function ends it too, and what it has started."""
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, said = process.communicate(timeout=seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TargetError(
                    f"{name} did not finish within {seconds:.0f} s: ask for less work, or for more "
                    "time with --timeout."
                ) from error
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def _finished(done: subprocess.CompletedProcess[str], name: str) -> str:
    """What a command printed. Raises TargetError with its last words where it failed."""
    if not done.returncode:
        return done.stdout
    said = _last(done.stderr) or _last(done.stdout) or "it said nothing"
    if "No space left" in done.stderr + done.stdout:
        raise TargetError(f"{name} has no space left ({said}): free some, and run it again.")
    if done.returncode in KILLED:
        raise TargetError(
            f"on {name} the work was killed ({said}): it is short of memory, or somebody ended it; "
            "close other programs, or measure a smaller base."
        )
    raise TargetError(
        f"on {name} the work failed with exit code {done.returncode} ({said}): mend that, and run "
        "it again."
    )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise TargetError(f"`{program}` is not installed here: install {package}.")
