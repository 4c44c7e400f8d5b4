"""The program that `crash.py` kills: it changes a store without end, and says so line by line.

Before each operation it writes what the operation will do, and `done` once it has returned.

    python benchmarks/_crash_child.py FOLDER KEY OTHER SEED OPERATION
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _crash_model import SAVED, FixedKey, digest, open_versions

from dsa_edge.adapter import Adapter, save_adapter
from dsa_edge.examples import Example
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, update
from dsa_edge.runtime._versions import Versions

OPERATIONS = ("fit", "load", "save", "rollback", "forget_examples", "rekey", "forget")
SHARES = np.array([6, 3, 1, 2, 1, 1, 0.5])
HYPER = Hyperparameters(queries=2)
PROMPTS = 30  # different ones, so that fits share some


def say(operation: str, **given: Any) -> None:
    os.write(1, (json.dumps([operation, given]) + "\n").encode())


def main(folder: Path, key: int, other: int, seed: int, focus: str) -> None:
    """Work until killed; every second operation is the one in focus."""
    randomness = np.random.default_rng(seed)
    user = User(open_versions(folder, key), folder, (key, other), randomness)
    say("ready")
    while True:
        for which in (randomness.choice(OPERATIONS, p=SHARES / SHARES.sum()), focus):
            getattr(user, which)()


class User:
    """What a program does with its user's store."""

    def __init__(
        self, me: Versions, folder: Path, keys: tuple[int, int], randomness: np.random.Generator
    ) -> None:
        self._me, self._store, self._folder = me, me._store, folder
        self._keys, self._random = keys, randomness

    def fit(self) -> None:
        """The calls on the store that `Personalizer.fit` makes, with slopes that are made up."""
        store, seed = self._store, int(self._random.integers(2**63))
        prompts = self._random.choice(PROMPTS, 3, replace=False)
        examples = [Example(f"what they said, {i}", " a", (" a", " b")) for i in prompts]
        with store.writing():
            ids = {self._me.example_id(example): example for example in examples}
            parent, old = self._me.version, self._me.adapter
            self._do("remember", lambda: self._me._remember(ids), examples=list(ids))
            given = {"parent": parent, "seed": seed, "examples": list(ids)}
            run = self._do(
                "start", lambda: store.start_run(parent, seed, asdict(HYPER), list(ids)),
                **given, digest=digest(Adapter(old.vector)),
            )  # fmt: skip
            states = self._steps(run, State(old.vector), seed)
            self._end(run, states, old)

    def _steps(self, run: int, state: State, seed: int) -> list[Any]:
        states = [state.theta]
        for _ in range(self._random.integers(2, 12)):
            slopes = self._random.standard_normal(HYPER.queries).astype(np.float32)
            step = Step(float(self._random.uniform(0.01, 0.1)), slopes)
            update(state, seed, HYPER, step)
            states.append(state.theta)
            after = digest(Adapter(state.theta))
            self._do("step", lambda step=step: self._store.append(run, step), digest=after)
        return states

    def _end(self, run: int, states: list[Any], old: Adapter) -> None:
        if self._random.random() < 0.2:
            verdict, made = "no improvement", None
        else:
            kept = int(self._random.integers(1, len(states)))
            bias = {" a": float(self._random.random())}
            verdict, made = "improved", (Adapter(states[kept], {**old.labels, **bias}), kept, {})
        self._do(
            "end", lambda: self._store.end_run(run, verdict, made),
            verdict=verdict, digest=made and digest(made[0]),
        )  # fmt: skip

    def load(self) -> None:
        """Use an adapter from a file."""
        bundle, file = self._me.bundle, self._folder / "given.safetensors"
        vector = self._random.standard_normal(bundle.manifest.adapter_size).astype(np.float32)
        adapter = Adapter(vector, {" b": 0.5})
        save_adapter(file, adapter, bundle.identity, bundle.manifest.adapter)
        parent = self._me.version
        self._do("load", lambda: self._me.load_adapter(file), parent=parent, digest=digest(adapter))

    def save(self) -> None:
        """Write the adapter in use over an earlier file."""
        what = digest(self._me.adapter)
        self._do("save", lambda: self._me.save_adapter(self._folder / SAVED), digest=what)

    def rollback(self) -> None:
        """Use any version."""
        version = int(self._random.choice([0, *(v.id for v in self._me.history())]))
        self._do("rollback", lambda: self._me.rollback(version), version=version)

    def forget_examples(self) -> None:
        """Forget one or two examples, often of the last fit."""
        known = [example for run in self._me.fits()[-2:] for example in run.examples]
        if known:
            ids = [str(i) for i in self._random.choice(known, 2)]
            self._do("forget_examples", lambda: self._me.forget(ids), examples=ids)

    def rekey(self) -> None:
        """Change the key to the other one; 0 unseals."""
        old, key = self._keys
        self._do("rekey", lambda: self._me.rekey(FixedKey(key) if key else None), key=key)
        self._keys = key, old

    def forget(self) -> None:
        """Forget everything."""
        self._do("forget", lambda: self._me.forget())

    @staticmethod
    def _do(operation: str, run: Any, **given: Any) -> Any:
        say(operation, **given)
        result = run()
        say("done")
        return result


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[2:5]]
    main(Path(sys.argv[1]), numbers[0], numbers[1], numbers[2], sys.argv[5])
