"""What an app meets on a phone: each ends in a sentence that it can show, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from java_drive import NO_OVERRIDE, Drive, python, sentence

from dsa_edge.manifest import checksum_of


@pytest.fixture
def rights() -> None:
    """Skips where root's rights cannot be laid down: it may read everything then."""
    if os.geteuid() == 0:
        laid_down = shutil.which("setpriv") and subprocess.run([*NO_OVERRIDE, "true"])
        if not laid_down or laid_down.returncode:
            pytest.skip("root may read everything, and setpriv cannot take that away here")


def other_backend(content: dict[str, Any]) -> None:
    content.update(executorch=None)


def other_schema(content: dict[str, Any]) -> None:
    content.update(schema=99)


def missing_operator(content: dict[str, Any]) -> None:
    content["executorch"]["operators"].append("other::op.out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_backend, "has no ExecuTorch programs"),
        (other_schema, "schema version 99"),
        (missing_operator, "lacks other::op.out"),
    ],
)
def test_a_bundle_that_this_phone_cannot_run_leaves_the_store(
    java: Drive, file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    me = tmp_path / "me"
    java(me, "fit", 6, file)
    before = java(me, "history")
    spoiled = Drive(tmp_path / "spoiled.dsa", *java.parts)
    shutil.copytree(java.bundle, spoiled.bundle)
    manifest = spoiled.bundle / "manifest.json"
    content = json.loads(manifest.read_text())
    change(content)
    manifest.write_text(json.dumps(content | {"checksum": checksum_of(content)}))
    kind, told = spoiled.refused(me, "history")
    assert kind in ("BundleException", "EngineException")
    assert words in told
    assert "export" in told  # what to do
    assert java(me, "history") == before


def test_a_damaged_bundle_is_told(java: Drive, tmp_path: Path) -> None:
    spoiled = Drive(tmp_path / "spoiled.dsa", *java.parts)
    shutil.copytree(java.bundle, spoiled.bundle)
    with (spoiled.bundle / "tokenizer.json").open("r+b") as tokenizer:
        tokenizer.write(b"?")
    assert spoiled.refused("-", "history")[0] == "BundleException"
    assert java.refused("-", "rollback", 9)[0] in ("StoreException", "UsageException")


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize("what", ["user.db", "."])
def test_storage_that_cannot_be_read_is_told_and_comes_back(
    java: Drive, file: Path, tmp_path: Path, what: str
) -> None:
    me = tmp_path / "me"
    java(me, "fit", 6, file)
    before, locked = java(me, "history"), me / what
    rights = locked.stat().st_mode
    locked.chmod(0)
    kind, told = java.refused(me, "history")
    locked.chmod(rights)
    assert kind == "StoreException"
    assert "permissions" in told  # what to check
    assert java(me, "history") == before


def goal(file: Path, steps: int) -> Path:
    """A file of Goal: steps wanted, and none done."""
    file.write_bytes(struct.pack(">ii", steps, 0))
    return file


def left(file: Path) -> int:
    wanted, done = struct.unpack(">ii", file.read_bytes())
    return int(wanted - done)


class Slice:
    """`slice` of Drive in a process of its own, as a system's scheduler runs it."""

    def __init__(self, command: list[str]) -> None:
        self._running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def until(self, step: int) -> int:
        """Waits for a step; returns the first that this process made."""
        assert self._running.stdout is not None
        first = 0
        for line in self._running.stdout:
            at = int(line.split()[1])
            first = first or at
            if at >= step:
                break
        return first

    def stop(self) -> list[str]:
        """What it says once it was told to stop."""
        return self._running.communicate("stop\n", timeout=60)[0].splitlines()

    def kill(self) -> None:
        self._running.send_signal(signal.SIGKILL)
        self._running.communicate()


@pytest.mark.usefixtures("rights")
def test_permission_withdrawn_in_mid_step_and_a_kill_lose_nothing(
    java: Drive, file: Path, tmp_path: Path
) -> None:
    """As Android does it: what an app may no longer read goes, and its process with it."""
    me, wanted = tmp_path / "me", goal(tmp_path / "goal", 100_000)
    command = java.command(me, "slice", wanted, file)
    running = Slice([*NO_OVERRIDE, *command] if os.geteuid() == 0 else command)
    running.until(3)
    me.chmod(0)
    running.until(6)  # what is open goes on
    running.kill()
    kind, told = java.refused(me, "slice", wanted, file)
    me.chmod(0o700)
    assert (kind, left(wanted)) == ("StoreException", 100_000)
    assert "check the permissions of its folder" in told
    with python(java, me) as there:
        done = len(there.journal())
        assert (there.version, done >= 6) == (0, True)
    again = Slice(command)
    assert again.until(done + 1) == done + 1  # behind the last step that is on the disk
    assert again.stop()[-1] == f"{left(wanted)} left"


def test_a_job_that_the_system_stops_ends_in_its_step_and_is_taken_up_again(
    java: Drive, file: Path, tmp_path: Path
) -> None:
    me, wanted, total = tmp_path / "me", goal(tmp_path / "goal", 100_000), 0
    for slices in (1, 2):
        running = Slice(java.command(me, "slice", wanted, file))
        running.until(3)
        *steps, outcome, told = running.stop()
        done = int(outcome.split(", ")[2])
        assert done == 3 + len(steps) < 100_000
        total += done
        assert told == f"{100_000 - total} left"
        assert left(wanted) == 100_000 - total
        with python(java, me) as there:
            assert [fit.verdict is not None for fit in there.fits()] == [True] * slices


def test_a_full_disk_is_told_and_the_job_goes_on_once_there_is_room(
    java: Drive, file: Path, tmp_path: Path
) -> None:
    """Room grows until the slice is done; each one that failed leaves version, goal and steps."""
    me, wanted, failed = tmp_path / "me", goal(tmp_path / "goal", 60), 0
    java(me, "fit", 6, file)
    before = java(me, "history")
    size = max(part.stat().st_size for part in me.rglob("*") if part.is_file())
    command = java.command(me, "slice", wanted, file)
    for room in range(0, 400_000, 20_000):
        done = with_room(command, size + room)
        if done.returncode == 0:
            break
        kind, told = sentence(done.stdout)
        assert (kind, "check free space" in told) == ("StoreException", True), told
        assert (left(wanted), java(me, "history")) == (60, before)
        failed += 1
    assert failed > 1
    assert int(done.stdout.splitlines()[-1].removesuffix(" left")) == left(wanted) < 60
    with python(java, me) as there:  # one fit that went on, not one for each try
        assert [fit.verdict is not None for fit in there.fits()] == [True, True]


def with_room(command: list[str], most: int) -> subprocess.CompletedProcess[str]:
    """Runs a command whose files may have so many bytes at most."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip
