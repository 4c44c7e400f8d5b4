"""`meta_train`: a population of users → a start, its directions, and what they are worth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dsa_edge.adapter import AdapterSpec
from dsa_edge.atomic import write_atomic
from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.examples import Example, Labels
from dsa_edge.exporters.training.meta._directions import principal
from dsa_edge.exporters.training.meta._host import Host, open_host
from dsa_edge.exporters.training.meta._judge import Judged, judged
from dsa_edge.exporters.training.meta._learn import Learning
from dsa_edge.exporters.training.meta._prompts import Reader
from dsa_edge.exporters.training.meta._settings import MetaSettings
from dsa_edge.exporters.training.meta._state import Round, State, key_of, load_state, save_state
from dsa_edge.exporters.training.meta._users import Population, gathered, read_users
from dsa_edge.gate import route_notes
from dsa_edge.start import Start, save_start

__all__ = ["MetaReport", "meta_train"]

Users = str | Path | Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class MetaReport:
    """What a meta-training came to.

    start: the file. seen, unseen: users; skipped: those with too few examples; repeated: texts of
    unseen users that seen ones have too, which do not judge. directions: M. rounds: of the
    training. served: how many of the prompts that the gate was made of each of several blocks
    serves; empty for one block. judged: the start on unseen users. seconds: of this call.
    notes: whether blocks have collapsed into one, or serve nobody.
    """

    start: Path
    seen: int
    unseen: int
    skipped: int
    repeated: int
    directions: int
    rounds: tuple[Round, ...]
    served: tuple[int, ...]
    judged: Judged
    seconds: float
    notes: tuple[str, ...] = ()


def meta_train(
    base: str | Path,
    users: Users,
    out: str | Path,
    settings: MetaSettings | None = None,
    adapter: AdapterSpec | None = None,
    quantize: str | None = None,
    labels: Labels | None = None,
    device: str = "cpu",
    on_part: Callable[[int, int, str], object] | None = None,
) -> MetaReport:
    """Learn a start for the users of a base, by exact gradients on the host.

    base: a bundle, or a checkpoint as `export` takes it, with `adapter` and `quantize` as there.
    users: a folder of one JSONL file a user, one file whose lines have a `user`, or examples by
        name. out: the start file; beside it OUT.run.json, the record, and while it runs OUT.state,
        from which an interrupted run goes on to the same bits.
    labels: of text and label lines. device: `cpu` or `cuda`.
    on_part: called with how many parts are done, of how many, and what a progress bar shows.
    Raises ExampleError for users that cannot be learned from, UsageError, BundleError,
    CheckpointError, and ExportError where the losses are no longer finite.
    """
    began, wanted = time.perf_counter(), settings or MetaSettings()
    target = _target(out)
    host = open_host(base, adapter, quantize, device)
    _check_gate(host, wanted)
    population = _population(host, users, labels, wanted)
    reader = Reader(host)
    learning = Learning(reader, population.seen, wanted)
    bar = _Bar(on_part, wanted.rounds + len(learning.adapted) + len(population.unseen))
    state = _learned(learning, target, key_of(host, population, wanted), bar)
    directions = principal(learning.points, wanted.directions)
    worth = judged(reader, population.unseen, wanted, state.phi, state.gate, bar.step)
    vector = state.phi.cpu().numpy().astype(np.float32)
    spec, count = host.model.adapter, len(population.seen)
    start = Start(vector, directions, host.identity, spec, host.base, count, state.gate)
    save_start(target, start)
    served = state.gate.served if state.gate else ()
    report = MetaReport(
        target, count, len(population.unseen), population.skipped, population.repeated,
        len(directions), tuple(state.rounds), served, worth, time.perf_counter() - began,
        route_notes(served, sum(served) // spec.active),
    )  # fmt: skip
    _write_record(target, report, population, wanted, start)
    _beside(target, ".state").unlink(missing_ok=True)
    return report


class _Bar:
    """Counts the parts that are done."""

    def __init__(self, on_part: Callable[[int, int, str], object] | None, total: int) -> None:
        self._on_part, self._total, self.done = on_part or (lambda *_: None), total, 0

    def step(self, told: str = "") -> None:
        self.done += 1
        self._on_part(self.done, self._total, told)


def _target(out: str | Path) -> Path:
    target = Path(out)
    if target.suffix != ".safetensors" or not target.parent.is_dir():
        raise UsageError(
            f"out is {target}, expected NAME.safetensors in a folder that is there: correct --out."
        )
    return target


def _check_gate(host: Host, settings: MetaSettings) -> None:
    spec = host.model.adapter
    if settings.gate == "learned" and spec.blocks == spec.active:
        raise UsageError(
            f"gate is learned where all {spec.blocks} blocks of a target serve every prompt, "
            "expected several to choose from: add --blocks N above --active, or leave --gate out."
        )


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.name.removesuffix(".safetensors") + ending)


def _population(
    host: Host, users: Users, labels: Labels | None, settings: MetaSettings
) -> Population:
    if isinstance(users, (str, Path)):
        if labels is not None:  # a text may hold what is a special token of this base
            labels = Labels(labels.template, labels.names, host.tokenizer.plain)
        users = read_users(users, labels, host.tokenizer.chat)
    _check_lengths(host, users, settings.examples)
    unseen = settings.unseen if isinstance(settings.unseen, float) else tuple(settings.unseen)
    return gathered(users, unseen, settings.least, settings.skip_small, str(settings.seed))


def _check_lengths(host: Host, users: Mapping[str, Sequence[Example]], most: int) -> None:
    """Refuse examples that the base cannot take, by the user's name, before any of the work."""
    for name, examples in users.items():
        try:
            host.encoder.encode_all(examples[:most])
        except ExampleError as error:
            raise ExampleError(f"user {name}, {error}") from error


def _learned(learning: Learning, target: Path, key: str, bar: _Bar) -> State:
    """Run what is left of it, keeping a state after every part."""
    place = _beside(target, ".state")
    learning.resume(load_state(place, learning.state, key))
    bar.done = len(learning.state.rounds) + len(learning.state.points)

    def on_part(made: Round | None) -> None:
        save_state(place, learning.state, key)
        bar.step("" if made is None else f"{made.before:.3f} → {made.after:.3f} nats")

    return learning.run(on_part)


def _write_record(
    target: Path, report: MetaReport, population: Population, settings: MetaSettings, start: Start
) -> None:
    """Everything that says how a start came about; of users only hashes."""
    told = {
        **asdict(report),
        "start": report.start.name,
        "id": start.id,
        "bundle": start.identity,
        "adapter": start.spec.to_dict(),
        "settings": {**asdict(settings), "unseen": len(population.unseen)},
        "users": {
            side: {user.key: len(user.examples) for user in getattr(population, side)}
            for side in ("seen", "unseen")
        },
    }
    write_atomic(_beside(target, ".run.json"), (json.dumps(told, indent=1) + "\n").encode())
