"""Does a start from many users' updates help users that took part in none, and what does it cost?

    python benchmarks/federated.py --json [--clients 100 --rounds 50 --sample 10 --seeds 0,1,2]

Rows are populations (`_federation.py`), under a trimmed mean and, with poison, under a plain mean:

    honest     everyone answers
    faulty     10 % of messages are lost, 10 % late, 5 % of clients send garbage
    poisoned   that, and 10 % of clients send their update backwards, 2.5 times as large

Flower's server and client apps run in this process over one loaded base (`LocalGrid`); every
client is the real runtime. Users who took part in no round then learn from a few examples of
theirs, from the zero start and from the federated one: accuracy and nats on later examples of
theirs, before and after. Bytes are those of Flower's messages in protobuf, each client and round.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import parser
from _engines import ENGINES, opened
from _federation import FAULTS, crowd
from _people import Person, reviewers
from flwr.serverapp.strategy import FedAvg, FedTrimmedAvg, Strategy

from dsa_edge.adapter import Adapter
from dsa_edge.cli._demo import demo_bundle
from dsa_edge.runtime import Budget, SharedBase
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated import LocalGrid, Round, sampling, server_app
from dsa_edge.start import load_start

ROWS = {
    "honest": ("honest", "trimmed"),
    "faulty": ("faulty", "trimmed"),
    "poisoned": ("poisoned", "trimmed"),
    "poisoned, plain mean": ("poisoned", "mean"),
}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--clients", type=int, default=100)
    made.add_argument("--rounds", type=int, default=50)
    made.add_argument("--sample", type=int, default=10, help="clients of a round")
    made.add_argument("--kind", default="sums", help="sums or journals")
    made.add_argument("--steps", type=int, default=8, help="of a client in a round")
    made.add_argument("--queries", type=int, default=8, help="directions of a step")
    made.add_argument("--batch", type=int, default=8, help="examples of a step")
    made.add_argument("--rate", type=float, help="of a client's steps (default: what suits)")
    made.add_argument("--clip", type=float, default=2.0, help="largest scalar")
    made.add_argument("--beta", type=float, default=1.0, help="of the server's meta-step")
    made.add_argument("--examples", type=int, default=24, help="that each client learns from")
    made.add_argument("--own", type=int, help="that an unseen user learns from (default: as many)")
    made.add_argument("--unseen", type=int, default=20, help="users who take part in no round")
    made.add_argument("--tested", type=int, default=40, help="later examples of each of these")
    made.add_argument("--fit-steps", type=int, default=40, help="that these then take themselves")
    made.add_argument("--every", type=int, default=10, help="rounds between two looks at a start")
    made.add_argument("--engine", default="onnx", choices=ENGINES, help="cpu, cuda: in torch")
    made.add_argument("--seeds", default="0")
    made.add_argument("--only", help="rows to run, by semicolon (default: all)")
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    runs = []
    for seed in map(int, arguments.seeds.split(",")):
        count = arguments.clients + arguments.unseen
        people = reviewers(count, arguments.examples, arguments.tested, seed)
        with opened(bundle, arguments.engine) as base:
            runs.append(compared(base, people, arguments, seed))
    result = {"options": vars(arguments), "seeds": runs}
    print(json.dumps(result) if arguments.json else text(runs))


def compared(
    base: SharedBase, people: Sequence[Person], arguments: Any, seed: int
) -> dict[str, Any]:
    """All rows of one seed, and the zero start beside them."""
    members, unseen = people[: arguments.clients], people[arguments.clients :]
    zero = np.zeros(base.bundle.manifest.adapter_size, np.float32)
    found: dict[str, Any] = {"zero start": {"unseen": helped(base, unseen, zero, arguments, seed)}}
    rows = arguments.only.split(";") if arguments.only else list(ROWS)
    for row in rows:
        with tempfile.TemporaryDirectory() as folder:
            found[row] = federated(base, members, unseen, row, arguments, seed, Path(folder))
    return found


def federated(
    base: SharedBase, members: Sequence[Person], unseen: Sequence[Person], row: str,
    arguments: Any, seed: int, folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Rounds of one population: traffic, what came of them, and what the start is worth."""
    faults, inner = ROWS[row]
    began, curve = time.perf_counter(), []

    def look(number: int, start: Floats) -> dict[str, float]:
        if number % arguments.every and number != arguments.rounds:
            return {}
        measured = {"round": number, **as_is(base, unseen, start)}
        curve.append(measured)
        return {"nats": measured["nats"]}

    random.seed(seed)  # Flower draws the clients of a round from there
    grid = LocalGrid(crowd(base, members, FAULTS[faults], arguments.rounds, seed))
    manifest, file = base.bundle.manifest, folder / "start.safetensors"
    app = server_app(
        base.bundle.path, file, arguments.rounds, arguments.sample,
        strategy(inner, arguments.sample), asked(manifest.identity, arguments, seed),
        arguments.beta, on_round=look,
    )  # fmt: skip
    grid.serve(app)
    seconds = time.perf_counter() - began
    start = load_start(file).vector
    return {
        "faults": asdict(FAULTS[faults]), "inner": inner, "curve": curve, "seconds": seconds,
        "up": sizes(grid.traffic.up), "down": sizes(grid.traffic.down),
        "start_norm": float(np.linalg.norm(start)),
        "unseen": helped(base, unseen, start, arguments, seed),
    }  # fmt: skip


def asked(identity: str, arguments: Any, seed: int) -> Round:
    """What each round asks for."""
    made = Round.suited(identity, arguments.kind)
    return replace(
        made, seed=seed, steps=arguments.steps, queries=arguments.queries, batch=arguments.batch,
        clip=arguments.clip, rate=arguments.rate or made.rate,
    )  # fmt: skip


def strategy(name: str, sample: int) -> Strategy:
    """How a round's updates become one."""
    if name == "mean":
        return FedAvg(**sampling(sample))
    return FedTrimmedAvg(**sampling(sample), beta=0.2)


def as_is(base: SharedBase, people: Sequence[Person], start: Floats) -> dict[str, float]:
    """Accuracy and nats of a start on later examples of people, before they learn."""
    with base.user(None) as me:
        me.use_adapter(Adapter(start))
        found = me.evaluate([example for person in people for example in person.test])[0]
    return {"accuracy": float(found.accuracy or 0), "nats": found.loss}


def helped(
    base: SharedBase, people: Sequence[Person], start: Floats, arguments: Any, seed: int
) -> dict[str, Any]:
    """The same, and means after each of them has learned from a few examples."""
    after = []
    for person in people:
        with base.user(None) as me:
            me.use_adapter(Adapter(start))
            me.fit(person.learn[: arguments.own], Budget(steps=arguments.fit_steps), seed=seed)
            after.append(me.evaluate(person.test)[0])
    return {
        "before": as_is(base, people, start),
        "after": {
            "accuracy": statistics.mean(float(found.accuracy or 0) for found in after),
            "nats": statistics.mean(found.loss for found in after),
        },
    }


def sizes(each: Sequence[int]) -> dict[str, float]:
    """Bytes of messages."""
    return {
        "messages": len(each), "largest": max(each, default=0), "total": sum(each),
        "mean": statistics.mean(each) if each else 0.0,
    }  # fmt: skip


def text(runs: Sequence[dict[str, Any]]) -> str:
    """Means over the seeds."""
    lines = [f"{'':<22}{'before':>8}{'after':>8}{'nats':>8}{'up B':>8}{'down B':>8}"]
    for row in runs[0]:
        own = [run[row] for run in runs]

        def mean(*path: str, own: Sequence[Any] = own) -> float:
            found = own
            for name in path:
                found = [value[name] for value in found]
            return statistics.mean(found)

        traffic = [f"{mean(way, 'largest'):8.0f}" for way in ("up", "down") if way in own[0]]
        lines.append(
            f"{row:<22}{mean('unseen', 'before', 'accuracy'):8.3f}"
            f"{mean('unseen', 'after', 'accuracy'):8.3f}{mean('unseen', 'after', 'nats'):8.3f}"
            + "".join(traffic)
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
