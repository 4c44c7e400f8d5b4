"""Kill -9 a program at random moments while it changes a user's store, and look what is left.

Each kill waits for a certain operation to begin, and strikes within about the time that it takes.
The store is then opened again. It must hold all that the program had been told was done, or that
and the whole of the operation that was under way: every version and every step of every journal, to
the bit. Bytes of what was forgotten, or packed again under another key, must be gone from the file.

    python benchmarks/crash.py --json [--kills 200] [--seed 0]

Exits with 1 if anything is violated.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _crash_model import Model, make_bundle, observe, open_versions
from tqdm import tqdm

from dsa_edge.errors import DsaEdgeError
from dsa_edge.runtime._versions import Versions

CHILD = Path(__file__).with_name("_crash_child.py")
# Operation to kill → what the program has to do to get there.
TARGETS = {
    "remember": "fit", "start": "fit", "step": "fit", "end": "fit", "load": "load", "save": "save",
    "rollback": "rollback", "forget_examples": "forget_examples", "rekey": "rekey",
    "forget": "forget",
}  # fmt: skip
LEARNED = ("SELECT adapter FROM versions", "SELECT record FROM examples")
SPREAD = -0.4, 1.1  # times the usual length of an operation: when it is killed, below 0 at once
TRACE = 24  # bytes that no other content has by chance


def main() -> int:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--kills", type=int, default=200)
    made.add_argument("--seed", type=int, default=0)
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = kill(Path(folder), arguments.kills, arguments.seed)
    print(json.dumps(result) if arguments.json else result)
    return 1 if result["violations"] else 0


def kill(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill so many times, in turns on an unsealed and on a sealed store."""
    users = [Victim(folder / "plain", (0, 1), seed), Victim(folder / "sealed", (1, 2), seed)]
    tally = Tally()
    targets = list(TARGETS)
    with tqdm(total=kills, unit="kill", disable=not sys.stderr.isatty(), leave=False) as bar:
        for number in range(kills):
            target = targets[number // len(users) % len(targets)]
            users[number % len(users)].kill(target, tally)
            bar.update()
    return tally.result(kills)


@dataclass
class Tally:
    """What was counted over all kills."""

    under_way: Counter[str] = field(default_factory=Counter)
    landed: Counter[str] = field(default_factory=Counter)
    sealed: int = 0
    versions: int = 0
    steps: int = 0
    lost: int = 0
    partial_files: int = 0
    violations: list[str] = field(default_factory=list)

    def result(self, kills: int) -> dict[str, Any]:
        """The figures as one object."""
        return {
            "kills": kills,
            "kills_of_sealed_stores": self.sealed,
            "operation_under_way": dict(self.under_way.most_common()),
            "of_these_found_done": dict(self.landed.most_common()),
            "versions_compared": self.versions,
            "steps_replayed": self.steps,
            "steps_lost_at_most": self.lost,
            "partial_files_left": self.partial_files,
            "violations": self.violations,
        }


class Victim:
    """A store, what it must hold, and the program that is killed again and again.

    keys: the one that it begins with, and the one that it is changed to, and back; 0 is none.
    """

    def __init__(self, folder: Path, keys: tuple[int, int], seed: int) -> None:
        self._folder, self._keys = folder, keys
        self._random = random.Random(f"{seed} {keys}")
        self._took: dict[str, list[float]] = defaultdict(list)
        self._start_over()

    def _start_over(self) -> None:
        """With an empty store."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._model, self._blobs = Model(self._keys[0]), set[bytes]()
        make_bundle(self._folder / "bundle")

    def kill(self, target: str, tally: Tally) -> None:
        """Run the program, kill it in `target` if it gets there, and check what is left."""
        pending = self._run(target)
        name = pending[0] if pending else "between operations"
        tally.under_way[name] += 1
        tally.sealed += self._model.key > 0
        try:
            self._check(pending, tally)
        except Exception as error:
            tally.violations.append(f"killed in {name}: {type(error).__name__}: {error}")
            self._start_over()

    def _run(self, target: str) -> tuple[str, dict[str, Any]] | None:
        """Returns the operation that was under way."""
        key = self._model.key
        other = sum(self._keys) - key
        numbers = [str(number) for number in (key, other, self._random.randrange(2**31))]
        command = [sys.executable, str(CHILD), str(self._folder), *numbers, TARGETS[target]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as child:
            assert child.stdout is not None
            log, wanted = Log(self._model, self._took), self._random.randrange(1, 4)
            for line in iter(child.stdout.readline, b""):
                log.read(line)
                wanted -= log.began == target
                if log.began == target and wanted <= 0:
                    usual = statistics.median(self._took[target] or [0.003])
                    time.sleep(max(0.0, self._random.uniform(*SPREAD) * usual))
                    break
            child.kill()
            for line in child.stdout.read().splitlines():
                log.read(line)
        if child.returncode != -9:
            raise SystemExit(f"the program ended by itself, with {child.returncode}")
        self._model = log.model
        return log.pending

    def _check(self, pending: tuple[str, dict[str, Any]] | None, tally: Tally) -> None:
        before = self._model
        after = before.after(*pending) if pending else before
        me, key = self._open(before.key, after.key)
        found = observe(me, self._folder, key)
        assert found in (before, after), f"wrong are {_differing(found, before)}"
        blobs = {blob for query in LEARNED for (blob,) in me._store._db.rows(query)}
        me._store.close()
        self._no_traces(self._blobs - blobs, b"".join(blobs))
        if pending and found == after:
            tally.landed[pending[0]] += 1
        tally.lost = max(tally.lost, _steps(after) - _steps(found) if _only_step(pending) else 0)
        tally.versions += len(found.versions)
        tally.steps += _steps(found)
        self._model, self._blobs = found, blobs
        for partial in self._folder.glob(".*.partial"):
            tally.partial_files += 1
            partial.unlink()

    def _open(self, *keys: int) -> tuple[Versions, int]:
        """With the key from before or, if a change of keys was under way, with the new one."""
        for key in dict.fromkeys(keys):
            try:
                return open_versions(self._folder, key), key
            except DsaEdgeError as error:
                why = error
        raise why

    def _no_traces(self, gone: set[bytes], kept: bytes) -> None:
        """Nothing of blobs that are no longer kept is left in any file of the store."""
        held = b"".join(path.read_bytes() for path in (self._folder / "store").iterdir())
        pieces = [blob[i : i + TRACE] for blob in gone for i in range(8, len(blob) - TRACE, TRACE)]
        left = sum(piece in held and piece not in kept for piece in pieces)
        assert not left, f"{left} of {len(pieces)} pieces of what is gone are left in the store"


class Log:
    """What the program has written: the model after all that is done, and what is under way."""

    def __init__(self, model: Model, took: dict[str, list[float]]) -> None:
        self.model, self.pending, self.began = model, None, ""
        self._took, self._at = took, 0.0
        self.pending: tuple[str, dict[str, Any]] | None

    def read(self, line: bytes) -> None:
        """Take one line."""
        operation, given = json.loads(line)
        self.began = ""
        if operation == "done" and self.pending:
            self.model = self.model.after(*self.pending)
            self._took[self.pending[0]].append(time.perf_counter() - self._at)
            self.pending = None
        elif operation != "ready":
            self.pending, self.began = (operation, given), operation
            self._at = time.perf_counter()


def _differing(found: Model, wanted: Model) -> list[str]:
    return [name for name, value in vars(found).items() if value != vars(wanted)[name]]


def _steps(model: Model) -> int:
    return sum(len(fit.digests) - 1 for fit in model.fits.values())


def _only_step(pending: tuple[str, dict[str, Any]] | None) -> bool:
    return pending is not None and pending[0] == "step"


if __name__ == "__main__":
    raise SystemExit(main())
