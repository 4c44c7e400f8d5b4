"""Does a bundle do what the model in it does? Every check has a stated tolerance.

| stage   | what is compared                                              | tolerance              |
| files   | sizes and hashes against the manifest                         | equal                  |
| graphs  | `onnx.checker` on every method                                | clean                  |
| logits  | decode over cached prefix and prompt, against torch on the    | 2 % of the logits' std |
|         | whole sentence, float32 activations, a random adapter         |                        |
| shipped | the golden prompt as shipped, activations in int8: RMS error  | 15 % of the std; 40 %  |
|         |                                                               | of a pruned base       |
| probe   | losses of cached probes against the naive path (whole         | 0.02 nats              |
|         | sentence, adapter masked, no cache), two lanes                |                        |
| choose  | candidates' log-probabilities against the naive path          | 0.02 nats              |
| adapter | a changed lane's scores change, and no other lane's           | > 1e-5 nats            |
| golden  | tokens generated for the golden prompt                        | equal                  |
| routes  | scores of the two lanes when the cores of blocks that serve   | > 1e-5 nats for those, |
|         | an example change, and those of the others, where the bundle  | equal for the others   |
|         | has several                                                   |                        |
| grouped | keys and values by shifted sparse attention in parts, where   | 2 % of their std       |
|         | the bundle has its graph, against torch on the whole prompt   |                        |

The float16 cache of keys and values is what the 2 % and the 0.02 nats leave room for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.adapter import load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import DsaEdgeError, VerifyError
from dsa_edge.exporters._golden import golden_tokens
from dsa_edge.exporters._reload import reload_model
from dsa_edge.exporters.adapters import Route as TorchRoute
from dsa_edge.exporters.methods import GROUPED, METHODS, Chains
from dsa_edge.exporters.model import AdaptedModel, TorchCaller
from dsa_edge.exporters.onnx import Session
from dsa_edge.gate import Route

__all__ = ["STAGES", "Check", "verify"]

STAGES = (
    "files", "graphs", "logits", "shipped", "probe", "choose", "adapter", "routes", "golden",
    "grouped",
)  # fmt: skip
LOGITS_EXACT, LOGITS_SHIPPED, NATS, MOVED = 0.02, 0.15, 0.02, 1e-5
PRUNED_SHIPPED = 0.4  # fewer units average out less: 0.07 of a whole SmolLM2, 0.09 and 0.21 pruned
CACHES = ("keys", "values")


@dataclass(frozen=True)
class Check:
    """One passed stage: what was measured and the bound that it kept."""

    stage: str
    measured: float
    tolerance: float


def verify(path: str | Path, on_stage: Callable[[str], object] | None = None) -> list[Check]:
    """Check a bundle against the torch model that its own weights make.

    Raises VerifyError naming the stage that failed.
    """
    checks: list[Check] = []
    verifier: _Verifier | None = None
    for stage in STAGES:
        if verifier is not None and not verifier.manifest.methods:
            break  # the rest is about ONNX graphs; programs are checked while they are written
        if verifier and stage in verifier.absent:
            continue
        if on_stage:
            on_stage(stage)
        try:
            if verifier is None:
                bundle = Bundle.open(path)
                verifier = _Verifier(bundle)
                measured, tolerance = 0.0, 0.0
            else:
                measured, tolerance = getattr(verifier, stage)()
        except VerifyError:
            raise
        except DsaEdgeError as error:
            raise VerifyError(f"verify failed in stage {stage!r}: {error}") from error
        except Exception as error:  # whatever a damaged graph makes the libraries raise
            raise VerifyError(
                f"verify failed in stage {stage!r} ({type(error).__name__}: {_line(error)}): "
                "export the bundle again."
            ) from error
        checks.append(_checked(stage, measured, tolerance))
    return checks


class _Verifier:
    """Holds the torch model of a bundle and the inputs that all stages use."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.invocation = self.manifest.adapter.invocation
        self._model: AdaptedModel | None = None
        random = np.random.default_rng(0)
        self.start = load_adapter(
            bundle.path / "adapter.safetensors", bundle.identity, self.manifest.adapter_size,
            self.manifest.pruned, self.manifest.gate_shape,
        ).vector  # fmt: skip
        sizes = [slot.size for slot in self.manifest.slots]
        scale = np.repeat(0.3 / np.sqrt(sizes), sizes)
        noise = random.standard_normal((2, self.manifest.adapter_size)) * scale
        self.vector = (self.start + noise).astype(np.float32)
        vocabulary = int(self.manifest.decoder["vocab_size"])
        self.lengths = np.array([9, 4, 7])
        self.prefix = random.integers(0, vocabulary, (1, 3))  # what all three prompts begin with
        self.prompt = random.integers(0, vocabulary, (3, 9))
        self.response = random.integers(0, vocabulary, (3, self.invocation + 1))
        self.targets = random.integers(0, vocabulary, self.response.shape)
        self.candidates = np.unique(random.integers(0, vocabulary, 5))
        spec = self.manifest.adapter
        ranked = [random.permutation(spec.blocks)[: spec.active] for _ in self.lengths]
        self.route = Route.of(np.stack(ranked))

    @property
    def absent(self) -> tuple[str, ...]:
        """Stages for what this bundle does not have."""
        ungrouped = GROUPED[0] not in self.manifest.methods
        ungated = self.manifest.adapter.blocks == 1
        return ("grouped",) * ungrouped + ("routes",) * ungated

    def graphs(self) -> tuple[float, float]:
        for method in (*METHODS, *(m for m in GROUPED if m in self.manifest.methods)):
            onnx.checker.check_model(str(self.bundle.method_file(method)))
        return 0.0, 0.0

    def logits(self) -> tuple[float, float]:
        cache, decode = self._prefill(), Session(self.bundle.path, "decode", exact=True)
        worst = 0.0
        for example in range(3):
            row = slice(example, example + 1)
            out = decode(
                tokens=self.response[row],
                keys=cache["keys"][:, row],
                values=cache["values"][:, row],
                lengths=self.lengths[row],
                adapter=self.vector[:1],
                prefix_keys=cache["prefix_keys"],
                prefix_values=cache["prefix_values"],
                **self._routes(row),
            )
            expected = self._naive(example)[0, -1].numpy()
            error = np.abs(out["logits"][0] - expected).max() / expected.std()
            worst = max(worst, float(error))
        return worst, LOGITS_EXACT

    def shipped(self) -> tuple[float, float]:
        ids = np.array([self.manifest.golden.prompt_ids])
        cached, tokens = ids[:, : -self.invocation], ids[:, -self.invocation :]
        length = np.array([cached.shape[1]])
        folder = self.bundle.path
        cache = Session(folder, "prefill")(prompt=cached, response=tokens, lengths=length)
        out = Session(folder, "decode")(
            tokens=tokens,
            keys=cache["keys"],
            values=cache["values"],
            lengths=length,
            adapter=np.zeros_like(self.start[None]),  # a learned start is no part of the base
        )
        with torch.no_grad():
            expected = self.model.decoder(torch.from_numpy(ids))[0, 0, -1].numpy()
        error = np.sqrt(((out["logits"][0] - expected) ** 2).mean())
        tolerance = PRUNED_SHIPPED if self.manifest.pruned else LOGITS_SHIPPED
        return float(error / expected.std()), tolerance

    def probe(self) -> tuple[float, float]:
        weights = np.zeros(self.targets.shape, dtype=np.float32)
        weights[:, self.invocation - 1 :] = 1
        losses = self._run("probe", targets=self.targets, weights=weights)["losses"]
        rows = np.arange(self.invocation - 1, self.response.shape[1])
        worst = 0.0
        for example in range(3):
            scores = self._naive(example).log_softmax(-1)[:, -len(rows) :]  # (L, rows, V)
            wanted = torch.from_numpy(self.targets[example, rows])
            nats = -scores.gather(-1, wanted[None, :, None].expand(2, -1, -1)).sum((1, 2))
            worst = max(worst, float(np.abs(nats.numpy() - losses[:, example]).max()) / len(rows))
        return worst, NATS

    def choose(self) -> tuple[float, float]:
        log_probs = self._run("choose", candidates=self.candidates)["log_probs"]
        worst = 0.0
        for example in range(3):
            scores = self._naive(example)[:, -1, torch.from_numpy(self.candidates)].log_softmax(-1)
            worst = max(worst, float(np.abs(scores.numpy() - log_probs[:, example]).max()))
        return worst, NATS

    def adapter(self) -> tuple[float, float]:
        session = Session(self.bundle.path, "choose", exact=True)
        feeds = {**self._context(), "candidates": self.candidates}
        plain = np.stack([self.start, self.start])
        changed = np.stack([self.start, self.vector[1]])
        before = session(**feeds, adapter=plain)["log_probs"]
        after = session(**feeds, adapter=changed)["log_probs"]
        other, own = np.abs(after - before).max((1, 2))
        if own <= MOVED or other > MOVED:
            raise VerifyError(
                f"verify failed in stage 'adapter': a change moved its own lane by {own:.1e} "
                f"nats (expected more than {MOVED}) and the other by {other:.1e} (expected none): "
                "the graph does not use the adapter; export again."
            )
        return float(own), float("inf")

    def routes(self) -> tuple[float, float]:
        """Change the blocks of the first example's route in one lane, and all others in the next.

        Other examples have other routes, and are not looked at.
        """
        session = Session(self.bundle.path, "choose", exact=True)
        feeds = {**self._context(), "candidates": self.candidates}
        lanes = np.stack([self.vector[0]] * 3)
        for slot in self.manifest.slots:
            serves = int(slot.name.rpartition(".")[2]) in self.route.index[0]
            lanes[1 if serves else 2, slot.offset : slot.offset + slot.size] += 0.1
        scores = session(**feeds, adapter=lanes)["log_probs"][:, 0]
        own, others = (float(np.abs(scores[lane] - scores[0]).max()) for lane in (1, 2))
        if own <= MOVED or others > 0:
            raise VerifyError(
                f"verify failed in stage 'routes': blocks of a route moved its scores by {own:.1e} "
                f"nats (expected more than {MOVED}) and the others by {others:.1e} (expected "
                "none): the graph does not route; export again."
            )
        return own, float("inf")

    def golden(self) -> tuple[float, float]:
        golden = self.manifest.golden
        prompt = np.array(golden.prompt_ids, dtype=np.int64)
        tokens = golden_tokens(
            self.bundle.path, prompt, self.invocation, self.manifest.adapter_size
        )
        differing = sum(a != b for a, b in zip(tokens, golden.expected_ids, strict=True))
        return float(differing), 0.0

    def grouped(self) -> tuple[float, float]:
        """Groups of 4 tokens, run 2 at a time on top of the last 4, against all 9 at once."""
        session = Session(self.bundle.path, GROUPED[0], exact=True)
        prompt, group = self.prompt[:1], np.array([4])
        found: list[dict[str, NDArray[Any]]] = []
        for start in range(0, 9, 2):
            part = {"prompt": prompt[:, start : start + 2], "start": np.array([max(0, start - 4)])}
            last = {f"prefix_{name}": _joined(found[-2:], name) for name in CACHES if found}
            found.append(session(**part, group=group, **last))
        expected = self._torch_grouped(torch.from_numpy(prompt), torch.from_numpy(group))
        worst = 0.0
        for name in CACHES:
            wanted = expected[name].float().numpy()
            error = np.abs(_joined(found, name) - wanted).max() / wanted.std()
            worst = max(worst, float(error))
        return worst, LOGITS_EXACT

    def _torch_grouped(self, prompt: Tensor, group: Tensor) -> dict[str, Tensor]:
        spec = self.model.decoder.spec
        frame_of = tuple(spec.frame_of(i) for i in range(spec.n_layers))
        caller = TorchCaller(self.model)
        chains = Chains(caller, spec.n_layers, self.model.split, self.invocation, frame_of)
        empty = torch.zeros(spec.n_layers, 1, spec.n_kv_heads, 0, spec.head_dim).half()
        with torch.no_grad():
            return chains.prefill_grouped(prompt, torch.tensor([0]), group, empty, empty)

    @property
    def model(self) -> AdaptedModel:
        if self._model is None:
            self._model = reload_model(self.bundle)
        return self._model

    def _run(self, method: str, **feeds: NDArray[Any]) -> dict[str, NDArray[Any]]:
        session = Session(self.bundle.path, method, exact=True)
        return session(**self._context(), adapter=self.vector, **feeds)

    @cache  # noqa: B019 (a verifier lives as long as its checks)
    def _prefill(self) -> dict[str, NDArray[Any]]:
        """Caches of the three prompts after their common prefix."""
        session = Session(self.bundle.path, "prefill", exact=True)
        length = np.array([self.prefix.shape[1]])
        first = session(prompt=self.prefix, response=self.response[:1], lengths=length)
        prefix = {"prefix_keys": first["keys"], "prefix_values": first["values"]}
        given = {"prompt": self.prompt, "response": self.response, "lengths": self.lengths}
        return {**session(**given, **prefix), **prefix}

    def _context(self) -> dict[str, NDArray[Any]]:
        split, cache = self.manifest.split_layer, self._prefill()
        caches = ("prefix_keys", "prefix_values", "keys", "values")
        return {
            "hidden": cache["hidden"],
            "lengths": self.lengths,
            **self._routes(slice(None)),
            **{name: cache[name][split:] for name in caches},
        }

    def _routes(self, some: slice) -> dict[str, NDArray[Any]]:
        """Inputs of the graphs: the routes of some examples, none where there is one block."""
        if self.manifest.adapter.blocks == 1:
            return {}
        routes = self.route[some]
        return {"route_index": routes.index, "route_weight": routes.weight}

    @cache  # noqa: B019 (a verifier lives as long as its checks)
    def _naive(self, example: int) -> Tensor:
        """Logits (2, T, V) of one whole sentence, adapter masked to the response, no cache."""
        prompt = np.concatenate([self.prefix[0], self.prompt[example, : self.lengths[example]]])
        tokens = torch.from_numpy(np.concatenate([prompt, self.response[example]]))[None]
        active = torch.arange(tokens.shape[1])[None] >= len(prompt)
        with torch.no_grad():
            route = self._torch_route(example, active)
            lanes = self.model.lanes(torch.from_numpy(self.vector), active, route)
            return self.model.decoder(tokens, lanes)[:, 0]

    def _torch_route(self, example: int, active: Tensor) -> TorchRoute:
        """The route of one example, for active tokens (1, T)."""
        route = self.route[slice(example, example + 1)]
        return TorchRoute(torch.from_numpy(route.index), torch.from_numpy(route.weight), active)


def _joined(parts: list[dict[str, NDArray[Any]]], name: str) -> NDArray[Any]:
    """Caches (N, 1, kv, P, d) of consecutive parts of a prompt as one."""
    return np.concatenate([part[name] for part in parts], 3)


def _checked(stage: str, measured: float, tolerance: float) -> Check:
    if not measured <= tolerance:
        raise VerifyError(
            f"verify failed in stage {stage!r} ({measured:.3g}, tolerance {tolerance:.3g}): "
            "the bundle does not compute what its model does; export it again."
        )
    return Check(stage, measured, tolerance)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else "no message"
