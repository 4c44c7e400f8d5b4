"""What a learned start is worth to users that it was not learned from, and what a user costs.

    python benchmarks/population.py --json                        # an hour or two on two cores
    python benchmarks/population.py --population reviewers --fold 1
    python benchmarks/population.py --parts meta                  # and then, on any later day,
    python benchmarks/population.py --parts users --unseen nytimeshealth --examples 16

Users are those of `_people.py`: accounts that post health news, reviewers of films, or people who
tell two accounts apart. Each fit learns from the examples just before the user's last 100, which
judge it, in nats a token and, of labels, in accuracy. 100 % is the best point of first order from
zero, in torch. Results are kept in build/population: what is there is not run again. Other users:
--users FILE or FOLDER, as `meta-train` takes them, with --unseen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _common import parser, some_of
from _engines import ENGINES, opened
from _people import POPULATIONS, Users, people
from _population import FIRST_ORDER, ROWS, Cost, first_order, fitted
from _population_report import summary, text
from tqdm import tqdm

from dsa_edge.adapter import AdapterSpec
from dsa_edge.atomic import write_atomic
from dsa_edge.demo import find_model
from dsa_edge.errors import UsageError
from dsa_edge.examples import Example
from dsa_edge.exporters import export
from dsa_edge.exporters.checkpoint import open_checkpoint, tokenizer_info
from dsa_edge.exporters.training.meta import MetaSettings, meta_train, read_users
from dsa_edge.runtime import SharedBase
from dsa_edge.tokenizer import Tokenizer

PARTS = ("meta", "bundle", "users")


def main() -> None:
    arguments = _parser().parse_args()
    parts = arguments.parts
    place = Path(arguments.out or f"build/population/{arguments.population}{arguments.fold}")
    place.mkdir(parents=True, exist_ok=True)
    users, unseen = _users(arguments)
    if "meta" in parts:
        _meta(arguments, place, users, unseen)
    if "bundle" in parts and not (place / "learned.dsa").exists():
        export(
            _model(arguments), place / "learned.dsa", adapter=_spec(arguments),
            start=place / "start.safetensors",
            gradients=arguments.engine == "onnx",  # torch has its own
        )  # fmt: skip
    if "users" in parts:
        _fits(arguments, place, users, unseen)
    result = summary([place])
    print(json.dumps(result) if arguments.json else text(result))


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--out", help="where results are kept (build/population/…)")
    made.add_argument("--population", default="posts", choices=sorted(POPULATIONS))
    made.add_argument("--fold", type=int, default=0, help="which users are unseen")
    made.add_argument(
        "--parts", type=some_of(PARTS), default=list(PARTS), help="some of meta,bundle,users"
    )
    made.add_argument("--model", help="checkpoint (default: the demo's)")
    made.add_argument("--users", help="other users than the population's")
    made.add_argument("--unseen", help="users to fit, by comma (default: the fold's)")
    made.add_argument("--examples", default="16,256", help="that a fit learns from")
    made.add_argument("--held", type=int, default=100, help="that judge it")
    table = [FIRST_ORDER, *ROWS]
    made.add_argument(
        "--rows", type=some_of(table, ";"), default=table, help="by semicolon (default: all)"
    )
    made.add_argument("--rank", type=int, default=0, help="of the core")
    made.add_argument("--rounds", type=int, default=20, help="of the meta-training")
    made.add_argument("--snapshots", type=int, default=8, help="of a user, for directions")
    made.add_argument("--directions", type=int, default=64)
    made.add_argument("--zeroth", type=int, default=40, help="steps of zeroth order")
    made.add_argument("--axes", type=int, default=8, help="steps of axes")
    made.add_argument("--gradients", type=int, default=40, help="steps of exact gradients")
    made.add_argument("--queries", type=int, default=8)
    made.add_argument("--batch", type=int, default=8)
    made.add_argument("--first-order-rate", type=float, help="(default: what suits)")
    made.add_argument("--device", default="cpu", help="of what torch runs: cpu or cuda")
    made.add_argument("--engine", default="onnx", choices=ENGINES, help="cpu, cuda: in torch")
    made.add_argument("--threads", type=int, help="of the engine (default: all cores)")
    made.add_argument("--seed", type=int, default=0)
    return made


def _model(arguments: argparse.Namespace) -> Path:
    return Path(arguments.model) if arguments.model else find_model()


def _spec(arguments: argparse.Namespace) -> AdapterSpec:
    return AdapterSpec(rank=arguments.rank)


def _users(arguments: argparse.Namespace) -> tuple[Users, list[str]]:
    """Examples of all users, the oldest first, and the names of those that are unseen."""
    named = arguments.unseen.split(",") if arguments.unseen else []
    usual: Sequence[str] = ()
    if arguments.users:
        if not named:
            raise UsageError("of other users, no --unseen is named: name some.")
        users = read_users(arguments.users)
    else:
        source = open_checkpoint(_model(arguments))
        tokenizer = Tokenizer(source.tokenizer_json, tokenizer_info(source))
        users, usual = people(arguments.population, arguments.fold, tokenizer)
    if missing := [name for name in named if name not in users]:
        raise UsageError(f"no user {', '.join(missing)} to fit: correct --unseen.")
    return users, named or list(usual)


def _meta(arguments: argparse.Namespace, place: Path, users: Users, unseen: Sequence[str]) -> None:
    """Learn the start, unless it is there."""
    if (place / "start.safetensors").exists():
        return
    settings = MetaSettings(
        rounds=arguments.rounds, directions=arguments.directions, seed=arguments.seed,
        adapt_steps=16, snapshots=arguments.snapshots, examples=192,
        unseen=tuple(unseen), skip_small=True,
    )  # fmt: skip
    latest = {name: posts[-settings.examples :] for name, posts in users.items()}
    with tqdm(unit="part", disable=arguments.json) as bar:

        def on_part(done: int, total: int, told: str) -> None:
            bar.total = total
            bar.set_postfix_str(told, refresh=False)
            bar.update(done - bar.n)

        meta_train(
            _model(arguments), latest, place / "start.safetensors", settings, _spec(arguments),
            device=arguments.device, on_part=on_part,
        )  # fmt: skip


def _fits(arguments: argparse.Namespace, place: Path, users: Users, unseen: Sequence[str]) -> None:
    """Every row of every unseen user that is not there yet."""
    wanted = [
        (account, int(count), row)
        for account in unseen
        for count in arguments.examples.split(",")
        for row in arguments.rows
    ]
    with opened(place / "learned.dsa", arguments.engine, arguments.threads) as base:
        for account, count, row in tqdm(wanted, disable=arguments.json):
            file = place / f"{account}-{count}-{row.replace(' ', '_').replace(',', '')}.json"
            if file.exists():
                continue
            own = users[account]
            held, learn = own[-arguments.held :], own[: -arguments.held][-count:]
            made = _one(arguments, base, row, learn, held)
            told = {"account": account, "examples": count, "row": row, **made}
            write_atomic(file, json.dumps(told).encode())


def _one(
    arguments: argparse.Namespace, base: SharedBase, row: str, learn: Sequence[Example],
    held: Sequence[Example],
) -> dict[str, Any]:  # fmt: skip
    names = ("zeroth", "axes", "gradients", "queries", "batch", "directions", "first_order_rate")
    cost = Cost(**{name: getattr(arguments, name) for name in names})
    if row == FIRST_ORDER:
        return first_order(base, learn, held, cost, arguments.seed, arguments.device)
    return {**fitted(base, row, learn, held, cost, arguments.seed), "cost": asdict(cost)}


if __name__ == "__main__":
    main()
