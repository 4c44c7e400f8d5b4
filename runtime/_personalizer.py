"""`Personalizer`: learn from one user, choose and generate with what was learned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from dsa_edge.adapter import load_adapter, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.examples import Example
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._engine import Engine, Floats
from dsa_edge.runtime._generate import Sampling, generate_ids
from dsa_edge.runtime._memory import peak_mb, reset_peak
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._optimizer import Hyperparameters
from dsa_edge.runtime._plan import Budget, plan_chunks
from dsa_edge.runtime._report import Evaluation, Progress, Report
from dsa_edge.runtime._store import Store, Version
from dsa_edge.runtime._trainer import Outcome, Trainer, evaluation, hold_out
from dsa_edge.tokenizer import Tokenizer

__all__ = ["BACKENDS", "Choice", "Personalizer"]

BACKENDS = ("auto", "onnx")
DEFAULT_STEPS = 150
EVALUATED = 128  # examples whose prompts are cached at a time while evaluating


@dataclass(frozen=True)
class Choice:
    """The likeliest of the given choices, and the probability of each, in the given order."""

    text: str
    probabilities: tuple[float, ...]


class Personalizer:
    """One user's model: a bundle, the user's store, and the adapter version in use."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine, self._store = engine, store
        self.bundle = engine.bundle
        self._tokenizer = Tokenizer.of(self.bundle)
        self._encoder = Encoder(self._tokenizer, self.bundle.manifest)

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        store: str | Path | None = None,
        backend: str = "auto",
        threads: int | None = None,
        check_hashes: bool = True,
    ) -> Personalizer:
        """Open a bundle for one user.

        store: the user's folder, created when missing; None keeps what is learned in memory.
        backend: `auto` or `onnx`. threads: of the engine; None takes all cores.
        check_hashes: read the whole bundle once to be sure that it is the exported one.
        Raises BundleError, AdapterError, StoreError, EngineError or UsageError.
        """
        if backend not in BACKENDS:
            raise UsageError(f"backend {backend!r} is unknown: use one of {', '.join(BACKENDS)}.")
        opened = Bundle.open(bundle, check_hashes)
        folder = None if store is None else Path(store)
        return cls(OnnxEngine(opened, threads), Store(folder, opened.identity))

    @property
    def adapter(self) -> Floats:
        """The adapter in use, (n,)."""
        return self._version(self._store.active)

    @property
    def version(self) -> int:
        """The version in use; 0 is the bundle's initial adapter."""
        return self._store.active

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in the base's vocabulary."""
        return self._tokenizer.encode(text)

    def chat(self, messages: Sequence[dict[str, str]], generate: bool = True) -> str:
        """Render a chat as a prompt with the base's own template."""
        return self._tokenizer.chat(messages, generate)

    def fit(
        self,
        examples: Sequence[Example],
        budget: Budget | None = None,
        on_step: Callable[[Progress], object] | None = None,
        hyperparameters: Hyperparameters | None = None,
        seed: int = 0,
        on_prefill: Callable[[int], object] | None = None,
    ) -> Report:
        """Learn from examples, starting from the adapter in use.

        A part of the examples is held out; unless their loss improves, the adapter stays as it was.
        on_step: called after every step; on_prefill: with the number of prompts just cached.
        seed: of the perturbations and the order of examples.
        Raises ExampleError for examples that cannot be learned from, BudgetError when the budget
        is too small for this model.
        """
        budget, hyper = budget or Budget(), hyperparameters or Hyperparameters()
        started = time.perf_counter()
        self._engine.release("probe", "choose", "decode")
        reset_peak()
        encoded = self._encoder.encode_all(_learnable(examples))
        full_head = any(example.tokens is None for example in encoded)
        chunks = plan_chunks(self.bundle.manifest, budget.memory_mb, full_head)
        cache = PromptCache(
            self._engine, items_of(encoded), chunks.cache_bytes, chunks.prefill_tokens,
            self._store.folder, on_prefill or (lambda _: None),
        )  # fmt: skip
        self._engine.release("prefill")
        prefill_seconds = time.perf_counter() - started
        objective = Objective(self._engine, encoded, cache, chunks.probe_rows)
        train, held_out = hold_out(len(encoded), seed)
        parent = self._store.active
        run = self._store.start_run(parent, seed, asdict(hyper))
        trainer = Trainer(
            objective, train, held_out, hyper, seed,
            lambda step: self._store.append(run, step), on_step or (lambda _: None), started,
        )  # fmt: skip
        outcome = trainer.run(self.adapter, budget.steps or DEFAULT_STEPS, budget)
        version = self._keep(run, parent, outcome)
        notes = (
            []
            if train is not held_out and len(set(train) & set(held_out)) == 0
            else ["too few examples to hold any out: the verdict is about the training examples"]
        )
        return Report(
            verdict=outcome.verdict,
            version=version,
            steps=outcome.steps,
            examples=len(examples),
            held_out=0 if notes else len(held_out),
            before=outcome.before,
            after=outcome.after,
            fit_seconds=time.perf_counter() - started,
            prefill_seconds=prefill_seconds,
            step_seconds=outcome.step_seconds,
            tokens=outcome.tokens,
            peak_mb=peak_mb(),
            adapter_bytes=4 * self.bundle.manifest.adapter_size,
            adapter_size=self.bundle.manifest.adapter_size,
            seed=seed,
            hyperparameters=asdict(hyper),
            notes=tuple(notes),
            curve=tuple(outcome.curve),
        )

    def evaluate(
        self,
        examples: Sequence[Example],
        versions: Sequence[int] | None = None,
        on_example: Callable[[int], object] | None = None,
    ) -> list[Evaluation]:
        """Loss and accuracy of adapter versions on examples, by default of the one in use.

        All versions share the cached prompts: comparing two costs little more than one.
        """
        if not examples:
            raise ExampleError("there are no examples to evaluate on: give at least one.")
        ids = [self._store.active] if versions is None else list(versions)
        adapters = np.stack([self._version(version) for version in ids])
        encoded = self._encoder.encode_all(examples)
        losses, right = [], []
        full_head = any(example.tokens is None for example in encoded)
        chunks = plan_chunks(self.bundle.manifest, None, full_head)
        by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i].items[0].prompt))
        for start in range(0, len(by_length), EVALUATED):
            part = [encoded[i] for i in by_length[start : start + EVALUATED]]
            cache = PromptCache(
                self._engine, items_of(part), chunks.cache_bytes, chunks.prefill_tokens,
                self._store.folder,
            )  # fmt: skip
            scores = Objective(self._engine, part, cache, chunks.probe_rows)(
                np.arange(len(part)), adapters
            )
            losses.append(scores.losses)
            right.append(scores.right)
            if on_example:
                on_example(len(part))
        return [
            evaluation(losses_of, right_of)
            for losses_of, right_of in zip(
                np.concatenate(losses, 1), np.concatenate(right, 1), strict=True
            )
        ]

    def choose(self, prompt: str, choices: Sequence[str], version: int | None = None) -> Choice:
        """The likeliest of several continuations of a prompt, of one token or more each."""
        if len(choices) < 2 or len(set(choices)) != len(choices):
            raise UsageError(f"choices are {list(choices)}, expected at least two distinct ones.")
        encoded = [self._encoder.encode(Example(prompt, choices[0], tuple(choices)))]
        chunks = plan_chunks(self.bundle.manifest, None, encoded[0].tokens is None)
        items = items_of(encoded)
        cache = PromptCache(self._engine, items, chunks.cache_bytes, chunks.prefill_tokens)
        objective = Objective(self._engine, encoded, cache, chunks.probe_rows)
        adapter = self._version(self._store.active if version is None else version)
        log_probs = objective.log_probs(0, adapter)
        probabilities = tuple(float(p) for p in np.exp(log_probs))
        return Choice(choices[int(log_probs.argmax())], probabilities)

    def generate(
        self,
        prompt: str,
        max_tokens: int = 40,
        sampling: Sampling | None = None,
        version: int | None = None,
    ) -> str:
        """Continue a prompt; greedy unless `sampling` says otherwise."""
        return "".join(self.stream(prompt, max_tokens, sampling, version))

    def stream(
        self,
        prompt: str,
        max_tokens: int = 40,
        sampling: Sampling | None = None,
        version: int | None = None,
    ) -> Iterator[str]:
        """Continue a prompt, yielding text as soon as it is certain."""
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}, expected at least 1.")
        cached, invocation = self._encoder.split_prompt(prompt)
        limit = int(self.bundle.manifest.decoder["max_positions"])
        room = limit - len(cached) - len(invocation)
        if room < 1:
            raise ExampleError(
                f"the prompt has {limit - room} tokens, this base takes {limit}: shorten it."
            )
        adapter = self._version(self._store.active if version is None else version)
        stop = self.bundle.manifest.tokenizer.eos_ids
        ids: list[int] = []
        sent = ""
        for token in generate_ids(
            self._engine, cached, invocation, adapter, sampling or Sampling(),
            min(max_tokens, room), stop,
        ):  # fmt: skip
            ids.append(token)
            text = self._tokenizer.decode(ids)
            # A character of several tokens shows as U+FFFD until its last one has come.
            if not text.endswith("�"):
                yield text[len(sent) :]
                sent = text
        if ids and (rest := self._tokenizer.decode(ids)[len(sent) :]):
            yield rest

    def history(self) -> list[Version]:
        """All saved versions, oldest first."""
        return self._store.versions()

    def rollback(self, version: int) -> None:
        """Use an earlier version again; 0 is the bundle's initial adapter."""
        self._store.activate(version)

    def forget(self) -> None:
        """Delete all that was learned and go back to the initial adapter."""
        self._store.forget()

    def save_adapter(self, path: str | Path) -> None:
        """Write the adapter in use to a file."""
        save_adapter(path, self.adapter, self.bundle.identity, self.bundle.manifest.adapter)

    def load_adapter(self, path: str | Path) -> int:
        """Use an adapter from a file as a new version; returns its id."""
        vector = load_adapter(path, self.bundle.identity, self.bundle.manifest.adapter_size)
        return self._store.add_version(self._store.active, vector, "loaded", 0, {})

    @property
    def store_bytes(self) -> int:
        """What this user takes on disk."""
        return self._store.bytes

    def close(self) -> None:
        """Release the engine and close the store."""
        self._engine.release("prefill", "probe", "choose", "decode")
        self._store.close()

    def __enter__(self) -> Personalizer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _version(self, version: int) -> Floats:
        manifest = self.bundle.manifest
        if version:
            return self._store.adapter(version)
        return load_adapter(
            self.bundle.path / "adapter.safetensors", self.bundle.identity, manifest.adapter_size
        )

    def _keep(self, run: int, parent: int, outcome: Outcome) -> int:
        """Save the outcome as a version if it improved; returns the version in use."""
        if outcome.verdict != "improved":
            self._store.end_run(run, None, None)
            return parent
        summary = {"before": asdict(outcome.before), "after": asdict(outcome.after)}
        version = self._store.add_version(
            parent, outcome.adapter, outcome.verdict, outcome.kept, summary
        )
        self._store.end_run(run, version, outcome.kept)
        return version


def _learnable(examples: Sequence[Example]) -> Sequence[Example]:
    """The examples, if something can be learned from them.

    Raises ExampleError when there are none, or when all of several have the same label.
    """
    if not examples:
        raise ExampleError("there are no examples to learn from: give at least one.")
    labels = {example.response for example in examples}
    if len(examples) > 1 and len(labels) == 1 and all(example.choices for example in examples):
        raise ExampleError(
            f"all {len(examples)} examples have the label {labels.pop().strip()!r}, from which only "
            "a constant answer can be learned: add examples of another label."
        )
    return examples
