"""The engine over ONNX Runtime: one session a method, loaded when first used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_edge.bundle import Bundle
from dsa_edge.errors import EngineError, MissingDependencyError
from dsa_edge.kernels.library import STANDARD, instruction_set, library, library_path
from dsa_edge.manifest import TensorInfo
from dsa_edge.runtime._engine import (
    Context,
    Decoded,
    Floats,
    Halves,
    Ints,
    Prefilled,
    Prefix,
    Route,
)
from dsa_edge.runtime._memory import release_freed

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxEngine", "run_options", "session_options"]

PREFILLS = ("prefill", "prefill_grouped")
NO_MIX = (
    "this bundle's graphs take one adapter for all rows, expected graphs whose rows may have their "
    "own: export the bundle again, or run each user's rows alone."
)


class OnnxEngine:
    """Runs the `onnx/` graphs of a bundle on the CPU.

    threads: of the engine's pool; None lets ONNX Runtime take all cores.
    Raises MissingDependencyError when onnxruntime is not installed.
    """

    name = "onnx"
    from_storage = 0

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._threads = threads or 0
        self._runtime = _import()
        self._options = run_options(self._runtime)
        self.gradients = "pull_losses" in bundle.manifest.methods
        self.grouped = "prefill_grouped" in bundle.manifest.methods
        self._lanes = {name for name, m in bundle.manifest.methods.items() if _takes_lanes(m[1])}
        self.mixes = "choose" in self._lanes
        self.kernels = kernels_in_use()
        # Weights as mapped, and again as packed for the kernels.
        files = bundle.manifest.files.items()
        self.loaded_mb = 2.2e-6 * sum(e.bytes for name, e in files if name.endswith("_data"))

    def prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        """See `Engine`."""
        feeds = {"prompt": prompt, "response": response, "lengths": lengths}
        return Prefilled(*self._run("prefill", **feeds, **_named(prefix)))

    def prefill_grouped(self, prefix: Prefix, start: int, prompt: Ints, group: int) -> Prefilled:
        """See `Engine`."""
        feeds = {"prompt": prompt, "start": np.array([start]), "group": np.array([group])}
        return Prefilled(*self._run("prefill_grouped", **feeds, **_named(prefix)))

    def probe(self, context: Context, adapter: Floats, targets: Ints, weights: Floats) -> Floats:
        """See `Engine`."""
        feeds = {"adapter": adapter, "targets": targets, "weights": weights}
        losses: Floats = self._run_adapted("probe", context, feeds)
        return losses

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        """See `Engine`."""
        feeds = {"adapter": adapter, "candidates": candidates}
        log_probs: Floats = self._run_adapted("choose", context, feeds)
        return log_probs

    def pull_losses(
        self, context: Context, adapter: Floats, targets: Ints, weights: Floats, pull: Floats
    ) -> Floats:
        """See `Engine`."""
        feeds = {"adapter": adapter, "targets": targets, "weights": weights, "pull": pull}
        return self._run_adapted("pull_losses", context, feeds)

    def pull_choices(
        self, context: Context, adapter: Floats, candidates: Ints, pull: Floats
    ) -> Floats:
        """See `Engine`."""
        feeds = {"adapter": adapter, "candidates": candidates, "pull": pull}
        return self._run_adapted("pull_choices", context, feeds)

    def _run_adapted(self, method: str, context: Context, feeds: dict[str, Any]) -> Floats:
        """The only output of a method over cached prompts."""
        if method in self._lanes:
            lanes = np.zeros(context.lanes(feeds["adapter"]), dtype=np.float32)
            feeds = {**feeds, "lanes": lanes}  # of which only the length is read
        elif context.each:
            raise EngineError(NO_MIX)
        found: Floats = self._run(method, **feeds, **self._cached(context))[0]
        return found

    def decode(
        self,
        tokens: Ints,
        prefix: Prefix,
        keys: Halves,
        values: Halves,
        lengths: Ints,
        adapter: Floats,
        route: Route | None = None,
    ) -> Decoded:
        """See `Engine`."""
        if len(adapter) > 1 and not self.mixes:
            raise EngineError(NO_MIX)
        feeds = {"tokens": tokens, "keys": keys, "values": values, "lengths": lengths}
        feeds |= {"adapter": adapter, **self._routed(route, len(tokens))}
        return Decoded(*self._run("decode", **feeds, **_named(prefix)))

    def release(self, *methods: str) -> None:
        """See `Engine`."""
        also = PREFILLS if "prefill" in methods else ()
        loaded = [method for method in {*methods, *also} if method in self._sessions]
        for method in loaded:
            del self._sessions[method]
        if loaded:
            release_freed()

    def keep_within(self, mb: float | None) -> None:
        """See `Engine`. A graph is held whole."""

    def _cached(self, context: Context) -> dict[str, Any]:
        """A context under the names of the graphs' inputs."""
        own = {name: getattr(context, name) for name in ("hidden", "keys", "values", "lengths")}
        routed = self._routed(context.route, len(context.lengths))
        return {**own, **_named(context.prefix), **routed}

    def _routed(self, route: Route | None, batch: int) -> dict[str, Any]:
        """A route under the names of the graphs' inputs, none where there is one block."""
        spec = self.bundle.manifest.adapter
        if spec.blocks == 1:
            return {}
        given = route or Route.first(batch, spec.active)
        return {"route_index": given.index, "route_weight": given.weight}

    def _run(self, method: str, **feeds: Any) -> list[Any]:
        session = self._sessions.get(method) or self._load(method)
        try:
            return list(session.run(None, feeds, self._options))
        except Exception as error:  # ONNX Runtime's exceptions share no base
            raise EngineError(
                f"ONNX Runtime {self._runtime.__version__} failed in {method!r} ({_first(error)}): "
                "check the inputs' lengths, or lower memory_mb if memory ran out."
            ) from error

    def _load(self, method: str) -> onnxruntime.InferenceSession:
        file = self.bundle.method_file(method)
        if method in PREFILLS:  # one of them at a time: each holds the base
            self.release(*PREFILLS)
        options = session_options(self._runtime, self._threads)
        try:
            session = self._runtime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(
                f"ONNX Runtime {self._runtime.__version__} cannot load {file} ({_first(error)}): "
                "it needs 1.23 or newer; upgrade it or export the bundle again."
            ) from error
        self._sessions[method] = session
        return session


def kernels_in_use() -> str:
    """What runs the adapter: our kernels' instruction set, or the graph's standard operators."""
    if library_path("dsa_onnxruntime") is None:
        return STANDARD
    library("dsa_onnxruntime")  # raises with the next action when it cannot be loaded
    return instruction_set()


def session_options(runtime: Any, threads: int = 0, kernels: bool = True) -> Any:
    """Options of every session; 0 threads are all cores.

    kernels: run our own where they are built, in place of the graph's functions.
    """
    options = runtime.SessionOptions()
    path = library_path("dsa_onnxruntime")
    if kernels and path is not None:
        options.register_custom_ops_library(str(path))
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Patterns reserve what a shape needed at its first run; shapes hardly ever come again.
    options.enable_mem_pattern = False
    # Threads that wait for more after a run would take the cores from the next method's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def run_options(runtime: Any) -> Any:
    """Options of every run: the arena would keep every peak it has seen."""
    options = runtime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _takes_lanes(inputs: Sequence[TensorInfo]) -> bool:
    """Graphs of before many users have no such input: a lane an adapter."""
    return any(tensor.name == "lanes" for tensor in inputs)


def _named(prefix: Prefix) -> dict[str, Halves]:
    return {"prefix_keys": prefix.keys, "prefix_values": prefix.values}


def _import() -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "onnx", "the ONNX backend") from error
    with contextlib.suppress(AttributeError):
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
