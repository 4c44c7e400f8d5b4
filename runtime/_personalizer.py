"""`Personalizer`: learn from one user, choose and generate with what was learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from dsa_edge.bundle import Bundle
from dsa_edge.errors import EngineError, ExampleError, UsageError
from dsa_edge.examples import Example
from dsa_edge.runtime._backend import BACKENDS, open_engine
from dsa_edge.runtime._engine import Ints
from dsa_edge.runtime._generate import NOT_NUMBERS, Sampling, generate_ids
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._learner import Learner
from dsa_edge.runtime._plan import Budget, Chunks
from dsa_edge.runtime._store import Store

__all__ = ["BACKENDS", "Choice", "Personalizer", "check_choices"]


@dataclass(frozen=True)
class Choice:
    """The likeliest of the given choices, and the probability of each, in the given order."""

    text: str
    probabilities: tuple[float, ...]


class Personalizer(Learner):
    """One user's model: a bundle, the user's store, and the adapter version in use."""

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
        """Token ids of a text in the base's vocabulary; special tokens in it are text."""
        return self._tokenizer.encode(text)

    def plain(self, text: str) -> str:
        """A user's text as it may stand in a prompt: special tokens that it holds stay text.

        Any other text is returned as it is. What goes through `chat` needs it not.
        """
        return self._tokenizer.plain(text)

    def chat(self, messages: Sequence[dict[str, str]], generate: bool = True) -> str:
        """Render a chat as a prompt with the base's own template; messages stay text."""
        return self._tokenizer.chat(messages, generate)

    def choose(
        self,
        prompt: str,
        choices: Sequence[str],
        version: int | None = None,
        budget: Budget | None = None,
    ) -> Choice:
        """The likeliest of several continuations of a prompt, of one token or more each.

        budget: of it, `memory_mb` alone counts; BudgetError where that is too little.
        """
        check_choices(choices)
        encoded = [self._encoder.encode(Example(prompt, choices[0], tuple(choices)))]
        objective = self._bounded(encoded, budget)
        adapter = self.adapter if version is None else self._version(version)
        objective.bias = objective.bias_of(adapter)
        objective.route_by(adapter.gate)
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
        budget: Budget | None = None,
    ) -> str:
        """Continue a prompt; greedy unless `sampling` says otherwise. Raises as `stream`."""
        return "".join(self.stream(prompt, max_tokens, sampling, version, budget))

    def stream(
        self,
        prompt: str,
        max_tokens: int = 40,
        sampling: Sampling | None = None,
        version: int | None = None,
        budget: Budget | None = None,
    ) -> Iterator[str]:
        """Continue a prompt, yielding text as soon as it is certain.

        budget: of it, `memory_mb` alone counts.
        Raises UsageError for no tokens, ExampleError for a prompt as long as the context, and
        BudgetError where memory is too little.
        """
        split = self._encoder.split_prompt(prompt)
        tokens = self._continued(*split, max_tokens, sampling, version, budget)
        return self._tokenizer.stream(tokens)

    def stream_ids(
        self, prompt: Ints, max_tokens: int = 40, sampling: Sampling | None = None
    ) -> Iterator[int]:
        """Continue token ids (P,), yielding ids; for those with a tokenizer. Raises as `stream`."""
        cut = max(len(prompt) - self.bundle.manifest.adapter.invocation, 0)
        return self._continued(prompt[:cut], prompt[cut:], max_tokens, sampling, None, None)

    def _continued(
        self,
        cached: Ints,
        invocation: Ints,
        max_tokens: int,
        sampling: Sampling | None,
        version: int | None,
        budget: Budget | None,
    ) -> Iterator[int]:
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}, expected at least 1.")
        limit = int(self.bundle.manifest.decoder["max_positions"])
        room = limit - len(cached) - len(invocation)
        if room < 1:
            raise ExampleError(
                f"the prompt has {limit - room} tokens, this base takes {limit}: shorten it."
            )
        adapter = self.adapter if version is None else self._version(version)
        chunks = self._generating(limit - room, budget or Budget())
        return generate_ids(
            self._engine, cached, invocation, adapter.vector, sampling or Sampling(),
            min(max_tokens, room), self.bundle.manifest.tokenizer.eos_ids, chunks, adapter.gate,
        )  # fmt: skip

    def _generating(self, tokens: int, budget: Budget) -> Chunks:
        """What a run of the engine may hold while it continues a prompt of so many tokens."""
        if budget.memory_mb is not None:
            self._prepare(budget)
        return self._planned(budget, True, tokens)

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


def check_choices(choices: Sequence[str]) -> None:
    """Raises UsageError unless there is something to choose between."""
    if len(choices) < 2 or len(set(choices)) != len(choices):
        raise UsageError(
            f"choices are {list(choices)}, expected at least two distinct ones: add or correct one."
        )
