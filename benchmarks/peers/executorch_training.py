"""ExecuTorch's own on-device training, as far as it can express the task.

A joint graph of forward and backward (`torch.export.experimental`), in float32 and without a
delegate, run by `TrainingModule` with its SGD: LoRA r 8 on q and v. Shapes are fixed, so prompts
are padded to the longest. Labels alone are targets: one row a sentence goes through the head. The
export, in another process, is no part of learning. settings: `rate`, `layers` (the first ones
alone, for a trial).
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _contract import Job, Row, answer, read_task
from _learning import learned
from _sentences import BATCH, Sentences, batches
from torch import Tensor, nn
from torch.nn import functional

RANK, ALPHA = 8, 16
PASSES = 3
METHOD = "forward"


class Loss(nn.Module):
    """(tokens (B, T), places (B,), answers (B,)) → mean nats over the choices."""

    def __init__(self, sentences: Sentences) -> None:
        super().__init__()
        self.model, self._sentences = sentences.model, sentences
        self._candidates = sentences.learn[0].candidates

    def forward(self, tokens: Tensor, places: Tensor, answers: Tensor) -> Tensor:
        """Whole sentences through all layers."""
        decoder = self._sentences.decoder
        seen = torch.ones_like(tokens)
        hidden = decoder.model(tokens, attention_mask=seen, use_cache=False).last_hidden_state
        asking = hidden[torch.arange(len(tokens)), places]
        return functional.cross_entropy(
            asking @ decoder.lm_head.weight[self._candidates].T, answers
        )


def export(job: Job, path: str) -> None:
    """Write the program, and what it took beside it."""
    from executorch.exir import to_edge
    from torch.export.experimental import _export_forward_backward

    began = time.perf_counter()
    sentences = Sentences(job, RANK, ALPHA, attention="eager")
    del sentences.decoder.model.layers[job.settings.get("layers", 10**6) :]
    given = next(inputs(job, sentences.learn))
    sentences.model.eval()
    joint = _export_forward_backward(torch.export.export(Loss(sentences), given, strict=False))
    replaced = _without_empty_permuted(joint)
    program = to_edge(joint).to_executorch()
    Path(path).write_bytes(program.buffer)
    notes = {"seconds": time.perf_counter() - began, "replaced": replaced}
    Path(path).with_suffix(".json").write_text(json.dumps(notes))


def _without_empty_permuted(program: Any) -> int:
    """SiLU's backward asks for an operator that the runtime has not: zeros do as well."""
    nodes = [
        node for node in program.graph.nodes
        if node.target is torch.ops.aten.empty_permuted.default
    ]  # fmt: skip
    for node in nodes:
        node.target, node.args = torch.ops.aten.full.default, (node.args[0], 0)
        node.kwargs = {"dtype": node.kwargs["dtype"]}
    program.graph_module.recompile()
    return len(nodes)


def inputs(job: Job, examples: list[Row]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of one shape, as the program takes them."""
    longest = max(len(row.prompt) for row in examples)
    for batch in batches(examples, BATCH, job.seed):
        tokens = torch.zeros(len(batch.tokens), longest, dtype=torch.long)
        tokens[:, : batch.tokens.shape[1]] = batch.tokens
        yield tokens, batch.rows[:, 1].contiguous(), batch.targets


class ExecutorchTraining:
    """The runtime's SGD on the program's own parameters."""

    def __init__(self, job: Job, path: Path) -> None:
        from executorch.extension.training import (
            _load_for_executorch_for_training_from_buffer,
            get_sgd_optimizer,
        )

        self._job, (self._learn, _) = job, read_task(job.task)
        self._buffer = path.read_bytes()  # the program reads it where it lies
        self._module = _load_for_executorch_for_training_from_buffer(self._buffer)
        self._inputs = inputs(job, self._learn)
        self._module.forward_backward(METHOD, next(self._inputs))  # parameters are known after one
        self._parameters = self._module.named_parameters()
        rate = job.settings["rate"]
        self._optimizer = get_sgd_optimizer(self._parameters, rate, 0, 0, 0, False)
        self.size = sum(p.numel() for p in self._parameters.values())
        notes = json.loads(path.with_suffix(".json").read_text())
        self.notes = (
            f"export {notes['seconds']:.0f} s, {len(self._buffer) / 1e6:.0f} MB, "
            f"{notes['replaced']} operators replaced by hand; shapes fixed, SGD only"
        )
        self._judge: Sentences | None = None

    def step(self) -> float:
        """One step of SGD; padding is run as well."""
        given = next(self._inputs)
        self._module.forward_backward(METHOD, given)
        self._optimizer.step(self._module.named_gradients())
        return PASSES * given[0].numel()

    def snapshot(self) -> dict[str, Tensor]:
        """What is trained, copied, by PEFT's names."""
        return {name.removeprefix("model."): p.clone() for name, p in self._parameters.items()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Into a PEFT model in torch, which judges."""
        if self._judge is None:
            self._judge = Sentences(self._job, RANK, ALPHA)
            del self._judge.decoder.model.layers[self._job.settings.get("layers", 10**6) :]
        self._judge.restore({**self._judge.snapshot(), **snapshot})

    def measure(self) -> tuple[float, float | None]:
        """As PEFT's."""
        assert self._judge is not None
        return self._judge.measure()

    def user_bytes(self) -> int:
        """Of the parameters in float32."""
        return 4 * self.size


def run(job: Job) -> dict[str, Any]:
    """A run of ExecuTorch's training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "joint.pte"
        process = multiprocessing.get_context("spawn").Process(target=export, args=(job, str(path)))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit("the export failed")
        return learned(job, ExecutorchTraining(job, path))


if __name__ == "__main__":
    answer(run)
