"""Does a gate pay for one user with several tasks, and how should it choose?

Reviews, news, mails and authors of `_tasks.py`, mixed, are learned by one adapter; `--tasks` takes
others, and pairs of accounts (`--tasks a+b,c+d`), whose prompts look alike. Rows are what serves a
prompt; all but the first have as many cores as tasks, on the same singular directions:

    one block               the usual adapter, a quarter of the numbers
    k-means                 clusters of the prompts, as a fit makes its gate
    learned from clusters   the same, which then learns (`--gate learned`)
    learned                 a gate that learns from one without meaning (`--gate scratch`)
    true task               the block of the task that a prompt is of: an oracle
    random                  any block, but the same one for the same prompt
    all                     the mean of all blocks: the numbers without the gate

`purity` is the share of held-out prompts whose block serves mostly their own task.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from _common import parser, some_of
from _engines import ENGINES, opened
from _tasks import Task, load_task
from numpy.typing import NDArray
from tqdm import tqdm

from dsa_edge.adapter import AdapterSpec
from dsa_edge.atomic import write_atomic
from dsa_edge.demo import find_model
from dsa_edge.examples import Example
from dsa_edge.gate import Floats, Gate, Route
from dsa_edge.runtime import Budget, Personalizer, _routing
from dsa_edge.runtime._hyperparameters import Hyperparameters

TASKS = ("reviews", "news", "mails", "authors")
LEARNS = {"learned from clusters": "learned", "learned": "scratch"}


class AnyBlock(Gate):
    """A block by the bytes of a prompt's states, which say nothing to a learner."""

    def scores(self, pooled: Floats) -> Any:
        """Numbers (B, N) that look random."""
        seeds = [zlib.crc32(row.tobytes()) for row in np.round(pooled, 1)]
        return np.stack([np.random.default_rng(seed).random(self.blocks) for seed in seeds])


class AllBlocks(Gate):
    """Every block serves every prompt."""

    def route(self, pooled: Floats, active: int) -> Route:
        """All of them, whatever `active` says."""
        return super().route(pooled, self.blocks)


class TrueTask(Gate):
    """The block of a prompt's own task, by the prompt of known task whose state is nearest.

    known: (M, D) states; task: (M,) their tasks.
    """

    known: Floats
    task: NDArray[np.int64]

    def scores(self, pooled: Floats) -> Any:
        """1 for the task's block."""
        one, other = pooled.astype(np.float64), self.known.astype(np.float64)
        apart = (other**2).sum(1) - 2 * one @ other.T
        return np.eye(self.blocks)[self.task[apart.argmin(1)]]


GATES = {
    "k-means": Gate, "learned from clusters": Gate, "learned": Gate, "true task": TrueTask,
    "random": AnyBlock, "all": AllBlocks,
}  # fmt: skip
ROWS = ("one block", *GATES)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--train", type=int, default=384, help="examples of each task")
    made.add_argument("--test", type=int, default=300, help="held-out examples of each task")
    made.add_argument("--steps", type=int, default=240, help="of each fit")
    made.add_argument("--queries", type=int, default=16, help="directions of a step")
    made.add_argument("--seeds", default="0", help="of examples and perturbations, by comma")
    made.add_argument(
        "--only",
        type=some_of(ROWS),
        default=list(ROWS),
        help="rows, by comma (default: all)",
    )
    made.add_argument("--rank", type=int, default=0, help="of each block's core (0: the default)")
    made.add_argument("--tasks", default=",".join(TASKS), help="that are mixed")
    made.add_argument("--out", default="build/gates", help="where results are kept")
    made.add_argument("--engine", default="onnx", choices=ENGINES, help="cpu, cuda: in torch")
    made.add_argument("--threads", type=int, help="of the engine (default: all cores)")
    arguments = made.parse_args()
    arguments.tasks = tuple(arguments.tasks.split(","))
    seeds = list(map(int, arguments.seeds.split(",")))
    Path(arguments.out).mkdir(parents=True, exist_ok=True)
    wanted = [(seed, name) for seed in seeds for name in arguments.only]
    bar = tqdm(wanted, disable=arguments.json)
    made_rows = [{"seed": s, "row": name, **kept(name, s, arguments)} for s, name in bar]
    result = {"options": vars(arguments), "rows": made_rows}
    print(json.dumps(result) if arguments.json else text(made_rows))


def kept(name: str, seed: int, arguments: Any) -> dict[str, Any]:
    """A row of one seed: what is there is not run again."""
    names = ("train", "test", "steps", "queries", "engine")
    cost = [getattr(arguments, option) for option in names]
    rank = [f"rank{arguments.rank}"] if arguments.rank else []
    told = "-".join(map(str, [*arguments.tasks, *rank, *cost, seed, name.replace(" ", "_")]))
    file = Path(arguments.out) / f"{told}.json"
    if not file.exists():
        write_atomic(file, json.dumps(run(name, seed, arguments)).encode())
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def bundle_of(folder: Path, blocks: int, rank: int = 0) -> Path:
    """The demo's model with as many blocks a target, exported when first needed."""
    from dsa_edge.exporters import export

    path = folder / (f"blocks{blocks}-rank{rank}.dsa" if rank else f"blocks{blocks}.dsa")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        export(find_model(), path, adapter=AdapterSpec(blocks=blocks, rank=rank))
    return path


def run(name: str, seed: int, arguments: Any) -> dict[str, Any]:
    """One row: learn the mixture, then measure each task."""
    kind = GATES.get(name, Gate)
    blocks = 1 if name == "one block" else len(arguments.tasks)
    bundle = bundle_of(Path(arguments.folder), blocks, arguments.rank)
    with opened(bundle, arguments.engine, arguments.threads) as base, base.user(None) as me:
        tasks = [load_task(task, me._tokenizer) for task in arguments.tasks]
        learn = [e for task in tasks for e in task.learn(seed)[: arguments.train]]
        if kind is TrueTask:
            tell_tasks(me, tasks, seed, arguments)
        hyper = Hyperparameters(
            queries=arguments.queries, batch=24, epsilon=0.05, rate=0.01,
            gate=LEARNS.get(name, "clusters"),
        )  # fmt: skip

        def gate_of(pooled: Floats, count: int, seed: int) -> Gate:
            found = clustered(pooled, count, seed)
            return kind(found.weight, found.bias)

        clustered = _routing.clustered
        with patch.object(_routing, "clustered", gate_of):
            report = me.fit(learn, Budget(steps=arguments.steps), hyperparameters=hyper, seed=seed)
        adapter = me.adapter
        if adapter.gate is not None:
            adapter = replace(adapter, gate=kind(adapter.gate.weight, adapter.gate.bias))
        held = {task.name: list(task.held_out[: arguments.test]) for task in tasks}
        accuracy = {task: me.evaluate(own, [adapter])[0].accuracy for task, own in held.items()}
        before = {task: me.evaluate(own, [0])[0].accuracy for task, own in held.items()}
        routed = routes(me, held, adapter.gate)
    return {
        "verdict": report.verdict, "before": before, "accuracy": accuracy, "routes": routed,
        "purity": purity(routed), "seconds": report.fit_seconds,
        "step_seconds": report.step_seconds, "evenness": report.evenness, "notes": report.notes,
    }  # fmt: skip


def tell_tasks(me: Personalizer, tasks: Sequence[Task], seed: int, arguments: Any) -> None:
    """Let the oracle see every prompt of the row, and whose it is."""
    parts = [
        [*task.learn(seed)[: arguments.train], *task.held_out[: arguments.test]] for task in tasks
    ]
    examples = [example for part in parts for example in part]
    TrueTask.known = me._objective(me._encoder.encode_all(examples), Budget()).pooled
    TrueTask.task = np.repeat(np.arange(len(tasks)), [len(part) for part in parts])


def routes(
    me: Personalizer, held: dict[str, list[Example]], gate: Gate | None
) -> dict[str, list[int]]:
    """How many prompts of each task each block serves; empty without a gate."""
    found: dict[str, list[int]] = {}
    for task, examples in held.items() if gate is not None else ():
        objective = me._objective(me._encoder.encode_all(examples), Budget())
        objective.route_by(gate)
        assert gate is not None
        assert objective.routes is not None
        found[task] = list(objective.routes.served(gate.blocks))
    return found


def purity(routed: dict[str, list[int]]) -> float | None:
    """Prompts that share their block with none but the task that it serves most."""
    counts = np.array(list(routed.values()))
    return float(counts.max(0).sum() / counts.sum()) if counts.size else None


def text(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the seeds, and the least and most of a seed's mean."""
    tasks = list(rows[0]["accuracy"])
    lines = [f"{'':<22} {' '.join(f'{task:>8}' for task in tasks)}     mean  (seeds)        purity"]
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name]
        table = np.array([[row["accuracy"][task] for task in tasks] for row in own])
        means = table.mean(1)
        pure = "–" if own[0]["purity"] is None else f"{np.mean([r['purity'] for r in own]):.3f}"
        shown = " ".join(f"{value:8.3f}" for value in table.mean(0))
        spread = f"({means.min():.3f}–{means.max():.3f})"
        lines.append(f"{name:<22} {shown} {means.mean():8.3f}  {spread}  {pure}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
