"""Runs a bundle on this machine and takes the time: raw seconds, which whoever asked sums up.

No user's text is needed: tokens are random, the adapter is too, and the store lies in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.gate import Gate
from dsa_edge.runtime._engine import Context, Engine, Floats, Ints
from dsa_edge.runtime._generate import Sampling, generate_ids
from dsa_edge.runtime._memory import peak_mb
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, lanes, update
from dsa_edge.runtime._personalizer import Personalizer
from dsa_edge.runtime._prompts import no_prefix
from dsa_edge.runtime.bench._settings import Settings

__all__ = ["FORMAT", "measured"]

FORMAT = "dsa-edge bench 1"
LOADS = 3  # at most: of a large base each takes seconds
SHORT = 32  # tokens of the examples of a step, and of the prompt before what is generated


def measured(bundle: str, which: str, settings: Settings) -> dict[str, Any]:
    """What one pass found: raw seconds (`time`), or peak memory in MB (`memory`).

    Raises what opening and running a bundle raises, and UsageError for more tokens than the base
    has positions.
    """
    with _opened(bundle, settings) as me:
        bench = _Bench(me, settings)
        found = {
            "format": FORMAT,
            "engine": me.engine,
            "bundle": {"identity": me.bundle.identity, "layers": me.bundle.manifest.n_layers,
                       "adapter_size": me.bundle.manifest.adapter_size},
            "settings": asdict(settings),
            "tokens": {"prompt": bench.prompt.size, "generate": settings.new_tokens - 1},
        }  # fmt: skip
        if which == "memory":
            bench.once()
            return found | {"peak_mb": peak_mb()}
        seconds = bench.seconds()
    return found | {"seconds": {"load": _loads(bundle, settings), **seconds}}


def _opened(bundle: str, settings: Settings) -> Personalizer:
    threads = settings.threads or None
    return Personalizer.open(bundle, None, settings.backend, threads, check_hashes=False)


def _loads(bundle: str, settings: Settings) -> list[float]:
    """From nothing to the loss of a first probe, files in the system's cache; hashes unread."""
    found = []
    for _ in range(min(LOADS, settings.repeats)):
        began = time.perf_counter()
        with _opened(bundle, settings) as me:
            _Bench(me, settings).first_probe()
            found.append(time.perf_counter() - began)
    return found


class _Bench:
    """What is run on one opened bundle."""

    def __init__(self, me: Personalizer, settings: Settings) -> None:
        self._me, self._engine, self._settings = me, me._engine, settings
        manifest = me.bundle.manifest
        positions = int(manifest.decoder["max_positions"])
        settings.check_fits(positions)
        self._vocab = int(manifest.decoder["vocab_size"])
        self.prompt = self._tokens(1, settings.prompt_tokens)[0]
        self._short = min(SHORT, positions - settings.new_tokens - 1)

    def seconds(self) -> dict[str, list[float]]:
        """Seconds of every run that counts, for each kind of work."""
        step = self._step()
        self._two_versions()
        return {
            "prompt": self._repeated(lambda: self._prefill(self.prompt[None])),
            "generate": [self._generate() for _ in range(self._runs)][self._settings.warmup :],
            "probe": self._repeated(step),
            "switch": self._repeated(self._switch),
        }

    def once(self) -> None:
        """Each kind of work once, for what it takes of memory."""
        self._prefill(self.prompt[None])
        self._generate()
        self._step()()

    def first_probe(self) -> None:
        """The least that gives a loss."""
        context = self._context(1)
        adapter = np.zeros((2, self._me.bundle.manifest.adapter_size), np.float32)
        self._engine.probe(context, adapter, *self._targets(1))

    @property
    def _runs(self) -> int:
        return self._settings.warmup + self._settings.repeats

    def _repeated(self, run: Callable[[], object]) -> list[float]:
        found = []
        for _ in range(self._runs):
            began = time.perf_counter()
            run()
            found.append(time.perf_counter() - began)
        return found[self._settings.warmup :]

    def _tokens(self, rows: int, count: int) -> Ints:
        return np.random.default_rng(0).integers(3, self._vocab, (rows, count), dtype=np.int64)

    def _prefill(self, prompt: Ints) -> Any:
        batch = len(prompt)
        response = self._tokens(batch, self._me.bundle.manifest.adapter.invocation)
        lengths = np.full(batch, prompt.shape[1])
        return self._engine.prefill(no_prefix(self._me.bundle.manifest), prompt, response, lengths)

    def _generate(self) -> float:
        """Seconds from the first new token to the last."""
        tokens = self._tokens(1, self._short)[0]
        adapter = self._me.adapter
        pieces = generate_ids(
            self._engine, tokens[:-1], tokens[-1:], adapter.vector, Sampling(),
            self._settings.new_tokens, (), gate=adapter.gate,
        )  # fmt: skip
        next(pieces)
        began = time.perf_counter()
        for _ in pieces:
            pass
        return time.perf_counter() - began

    def _context(self, batch: int) -> Context:
        manifest = self._me.bundle.manifest
        split, prefix = manifest.split_layer, no_prefix(manifest)
        done = self._prefill(self._tokens(batch, self._short))
        lengths = np.full(batch, self._short)
        return Context(
            prefix.from_layer(split), done.hidden, done.keys[split:], done.values[split:], lengths
        )

    def _targets(self, batch: int) -> tuple[Ints, Floats]:
        """Targets and weights (B, R): the last position counts alone."""
        targets = self._tokens(batch, self._me.bundle.manifest.adapter.invocation)
        weights = np.zeros(targets.shape, dtype=np.float32)
        weights[:, -1] = 1
        return targets, weights

    def _step(self) -> Callable[[], None]:
        """One zeroth-order step of free responses: lanes, probe, slopes, update."""
        batch = self._settings.batch
        hyper = Hyperparameters(queries=self._settings.lanes // 2, batch=batch)
        state = State(np.zeros(self._me.bundle.manifest.adapter_size, np.float32))
        context, (targets, weights) = self._context(batch), self._targets(batch)
        engine: Engine = self._engine

        def step() -> None:
            losses = engine.probe(context, lanes(state, 0, hyper), targets, weights).mean(1)
            slopes = (losses[0::2] - losses[1::2]) / np.float32(2 * hyper.epsilon)
            update(state, 0, hyper, Step(hyper.rate, slopes.astype(np.float32)))

        return step

    def _two_versions(self) -> None:
        manifest = self._me.bundle.manifest
        shape, gate = manifest.gate_shape, self._me.adapter.gate
        if shape is not None and gate is None:  # of several blocks, none of which was trained
            gate = Gate(np.zeros(shape, np.float32), np.zeros(shape[0], np.float32))
        for value in (0.01, 0.02):
            vector = np.full(manifest.adapter_size, value, np.float32)
            self._me.use_adapter(Adapter(vector, gate=gate))

    def _switch(self) -> None:
        """To the other version, as it is used next."""
        self._me.rollback(1 if self._me.version == 2 else 2)
        assert self._me.adapter.vector.size
