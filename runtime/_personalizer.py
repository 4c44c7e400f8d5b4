"""`Personalizer`: learn from one user, choose and generate with what was learned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import EngineError, ExampleError, UsageError
from dsa_edge.examples import Example, Labels, Row
from dsa_edge.runtime._backend import BACKENDS, open_engine
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoded, Encoder, learnable
from dsa_edge.runtime._engine import Engine, Floats, Ints
from dsa_edge.runtime._generate import NOT_NUMBERS, Sampling, generate_ids
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._memory import peak_mb, reset_peak
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._optimizer import Hyperparameters
from dsa_edge.runtime._plan import Budget, plan_chunks, room_for_base
from dsa_edge.runtime._random import order
from dsa_edge.runtime._report import Evaluation, Progress, Report
from dsa_edge.runtime._shots import pick_shots
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._trainer import Outcome, Trainer, evaluation, hold_out
from dsa_edge.runtime._versions import Versions
from dsa_edge.tokenizer import Tokenizer

__all__ = ["BACKENDS", "Choice", "Personalizer"]

DEFAULT_STEPS = 100
PROMPT_SHARE = 0.5  # of the allowed seconds, for caching prompts; the rest is for steps
PROMPTS = 2**33  # an epoch number that no run reaches
EVALUATED = 128  # examples whose prompts are cached at a time while evaluating


@dataclass(frozen=True)
class Choice:
    """The likeliest of the given choices, and the probability of each, in the given order."""

    text: str
    probabilities: tuple[float, ...]


class Personalizer(Versions):
    """One user's model: a bundle, the user's store, and the adapter version in use."""

    def __init__(self, engine: Engine, store: Store) -> None:
        super().__init__(engine.bundle, store)
        self._engine = engine
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
        layers_kept: int | None = None,
        key: KeyProvider | None = None,
    ) -> Personalizer:
        """Open a bundle for one user.

        store: the user's folder, created when missing; None keeps what is learned in memory.
        backend: `auto`, `onnx` or `executorch`. threads: of the engine; None takes all cores.
        check_hashes: read the whole bundle once to be sure that it is the exported one.
        layers_kept: layers that ExecuTorch keeps in memory; the others come from storage each time
            they are needed, so that a base larger than memory runs, slower. None keeps all.
        key: seals a new store, and opens a sealed one: `KeyringKey()`, `PassphraseKey("…")`,
            `FileKey("…")`, or an app's own.
        Raises BundleError, AdapterError, StoreError, EngineError or UsageError.
        """
        opened = Bundle.open(bundle, check_hashes)
        folder = None if store is None else Path(store)
        return cls(
            open_engine(opened, backend, threads, layers_kept), Store(folder, opened.identity, key)
        )

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
        remember: bool = False,
    ) -> Report:
        """Learn from examples, starting from the adapter in use.

        A part of the examples is held out. Unless the loss on them, and on those that the first
        pass had not learned from yet, improves, the adapter stays as it was.
        on_step: called after every step; on_prefill: with the number of prompts just cached.
        hyperparameters: by default those that suit choices, or free responses.
        seed: of the perturbations and the order of examples.
        remember: keep the examples in the store; without it the store knows only their ids.
        Raises ExampleError for examples that cannot be learned from, BudgetError when the budget
        is too small for this model, StoreError when another program is changing the store.
        """
        with self._store.writing():
            return self._fit(
                examples, budget or Budget(), on_step or (lambda _: None),
                hyperparameters, seed, on_prefill, remember,
            )  # fmt: skip

    def _fit(
        self, examples: Sequence[Example], budget: Budget, on_step: Callable[[Progress], object],
        hyperparameters: Hyperparameters | None, seed: int,
        on_prefill: Callable[[int], object] | None, remember: bool,
    ) -> Report:  # fmt: skip
        if not 0 <= seed < 2**63:  # what the generator and the journal can hold
            raise UsageError(f"seed is {seed}, expected 0 ≤ seed < 2^63.")
        started = time.perf_counter()
        self._engine.release("probe", "choose", "decode")
        self._engine.keep_within(room_for_base(budget.memory_mb))
        reset_peak()
        encoded = self._encoder.encode_all(learnable(examples))
        deadline = None
        if budget.seconds:  # not all prompts may be cached in time, so any part must be a fair one
            encoded = [encoded[i] for i in order(seed, PROMPTS, len(encoded))]
            deadline = started + PROMPT_SHARE * budget.seconds
        hyper = hyperparameters or Hyperparameters.suited(all(e.choices for e in encoded))
        objective = self._objective(encoded, budget.memory_mb, on_prefill, deadline)
        self._engine.release("prefill")
        prefill_seconds = time.perf_counter() - started
        parent, old = self.version, self.adapter
        objective.bias = old.bias(objective.choices)
        train, held_out = hold_out(len(objective), seed)
        run = self._start_run(parent, seed, hyper, examples, remember)
        trainer = Trainer(
            objective, train, held_out, hyper, seed,
            lambda step: self._store.append(run, step), on_step, started,
        )  # fmt: skip
        outcome = trainer.run(old.vector, budget.steps or DEFAULT_STEPS, budget)
        version = self._keep(run, parent, old, objective.choices, outcome)
        return Report(
            verdict=outcome.verdict,
            version=version,
            steps=outcome.steps,
            examples=len(objective),
            held_out=0 if len(held_out) == len(objective) else len(held_out),
            before=outcome.before,
            calibrated=outcome.calibrated if objective.choices else None,
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
            notes=_notes(len(examples), len(objective), len(held_out), self._engine.from_storage),
            curve=tuple(outcome.curve),
        )

    def pick_shots(
        self,
        labels: Labels,
        rows: Sequence[Row],
        shots: int = 4,
        tries: int = 24,
        judges: int = 96,
        seed: int = 0,
        on_judged: Callable[[int, int], object] = lambda done, total: None,
    ) -> tuple[Labels, list[Row]]:
        """Put the best worked examples out of labelled rows, (text, label) each, into the prompt.

        tries: sets that are drawn; the best are measured on `judges` other rows, at most half.
        on_judged: called with how many prompts have been run, and of how many.
        Returns the labels to make prompts with from now on, and the rows that are left to learn.
        Raises ExampleError when there are too few rows of each label, UsageError for no tries.
        """

        def score(examples: Sequence[Example]) -> tuple[Floats, Ints]:
            objective = self._objective(self._encoder.encode_all(examples), None)
            lanes = self.adapter.vector[None]
            scores = objective.choice_scores(np.arange(len(examples)), lanes)[0]
            return scores, objective.answers

        return pick_shots(labels, rows, score, shots, tries, judges, seed, on_judged)

    def evaluate(
        self,
        examples: Sequence[Example],
        versions: Sequence[int | Adapter] | None = None,
        on_example: Callable[[int], object] | None = None,
    ) -> list[Evaluation]:
        """Loss and accuracy of versions or adapters on examples, by default of the one in use.

        All of them share the cached prompts: comparing two costs little more than one.
        on_example: called with the number of examples just done.
        """
        if not examples:
            raise ExampleError("there are no examples to evaluate on: give at least one.")
        chosen = [self.version] if versions is None else versions
        adapters = [a if isinstance(a, Adapter) else self._version(a) for a in chosen]
        lanes = np.stack([adapter.vector for adapter in adapters])
        encoded = self._encoder.encode_all(examples)
        losses, right = [], []
        by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i].items[0].prompt))
        for start in range(0, len(by_length), EVALUATED):
            part = [encoded[i] for i in by_length[start : start + EVALUATED]]
            objective = self._objective(part, None)
            if objective.choices:
                objective.bias = np.stack([a.bias(objective.choices) for a in adapters])
            scores = objective(np.arange(len(part)), lanes)
            losses.append(scores.losses)
            right.append(scores.right)
            if on_example:
                on_example(len(part))
        pairs = zip(np.concatenate(losses, 1), np.concatenate(right, 1), strict=True)
        return [evaluation(*pair) for pair in pairs]

    def choose(self, prompt: str, choices: Sequence[str], version: int | None = None) -> Choice:
        """The likeliest of several continuations of a prompt, of one token or more each."""
        if len(choices) < 2 or len(set(choices)) != len(choices):
            raise UsageError(f"choices are {list(choices)}, expected at least two distinct ones.")
        encoded = [self._encoder.encode(Example(prompt, choices[0], tuple(choices)))]
        objective = self._objective(encoded, None)
        adapter = self.adapter if version is None else self._version(version)
        objective.bias = adapter.bias(objective.choices)
        log_probs = objective.log_probs(0, adapter.vector)
        if np.isnan(log_probs).any():
            raise EngineError(NOT_NUMBERS)
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
        adapter = self.adapter if version is None else self._version(version)
        tokens = generate_ids(
            self._engine, cached, invocation, adapter.vector, sampling or Sampling(),
            min(max_tokens, room), self.bundle.manifest.tokenizer.eos_ids,
        )  # fmt: skip
        return self._tokenizer.stream(tokens)

    @property
    def engine(self) -> dict[str, str]:
        """What runs the model: `backend`, and `kernels`, which run the adapter."""
        return {"backend": self._engine.name, "kernels": self._engine.kernels}

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

    def _objective(
        self,
        encoded: Sequence[Encoded],
        memory_mb: float | None,
        on_prefill: Callable[[int], object] | None = None,
        deadline: float | None = None,
    ) -> Objective:
        """The loss over examples whose prompts are now cached, fewer of them after a deadline."""
        full_head = any(example.tokens is None for example in encoded)
        loaded = self._engine.loaded_mb
        chunks = plan_chunks(self.bundle.manifest, memory_mb, full_head, loaded)
        counts = [len(example.items) for example in encoded]
        cache = PromptCache(
            self._engine, items_of(encoded), chunks, self._store.folder,
            on_prefill or (lambda _: None), deadline, max(counts), self._store.sealed,
        )  # fmt: skip
        ends = np.cumsum(counts)
        return Objective(self._engine, encoded[: int((ends <= cache.ready).sum())], cache, chunks)

    def _start_run(
        self, parent: int, seed: int, hyper: Hyperparameters, examples: Sequence[Example],
        remember: bool,
    ) -> int:  # fmt: skip
        ids = {self.example_id(example): example for example in examples}
        if remember:
            self._remember(ids)
        return self._store.start_run(parent, seed, asdict(hyper), list(ids))

    def _keep(
        self, run: int, parent: int, old: Adapter, choices: tuple[str, ...], outcome: Outcome
    ) -> int:
        """Save the outcome as a version if it improved; returns the version in use."""
        if outcome.verdict != "improved":
            self._store.end_run(run, outcome.verdict)
            return parent
        summary = {"before": asdict(outcome.before), "after": asdict(outcome.after)}
        learned = (
            {} if outcome.bias is None else dict(zip(choices, outcome.bias.tolist(), strict=True))
        )
        adapter = Adapter(outcome.adapter, {**old.labels, **learned})
        made = self._store.end_run(run, outcome.verdict, (adapter, outcome.kept, summary))
        return parent if made is None else made


def _notes(given: int, used: int, held_out: int, from_storage: int) -> tuple[str, ...]:
    late = f"the time allowed was enough for {used} of {given} examples; the others were left out"
    alone = "too few examples to hold any out: the verdict is about the training examples"
    slow = f"memory_mb holds the base but for {from_storage} layers, which came from storage"
    return (late,) * (used < given) + (alone,) * (held_out == used) + (slow,) * (from_storage > 0)
