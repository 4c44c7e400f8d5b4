"""A run of a peer that learns step by step: within its time, with adapters kept to be judged."""

from __future__ import annotations

from typing import Any, Protocol

from _contract import LOOKS, Clock, Job, marks, memory

__all__ = ["Learner", "learned"]


class Learner(Protocol):
    """What is trained, and how it is judged."""

    size: int

    @property
    def notes(self) -> str:
        """What the page says of the run; nothing most times."""

    def step(self) -> float:
        """One step; returns its forward tokens, through all layers (a backward counts as two)."""

    def snapshot(self) -> Any:
        """A copy of what is trained."""

    def restore(self, snapshot: Any) -> None:
        """Back to a snapshot."""

    def measure(self) -> tuple[float, float | None]:
        """(loss in nats, accuracy or None) on the held-out examples."""

    def user_bytes(self) -> int:
        """What one user takes on the disk."""


def learned(job: Job, learner: Learner) -> dict[str, Any]:
    """Learn for as long as the job says, then judge each adapter that was kept."""
    machine = memory()
    machine.release_freed()
    loaded = machine.resident_mb()
    machine.reset_peak()  # what loading took is not part of learning
    kept, steps = _kept(job, learner)
    peak = machine.peak_mb()
    points = []
    if not job.settings.get("judged", True):
        points = [{**kept[-1][0], "loss": None, "accuracy": None}]
        kept = []
    for point, snapshot in kept:
        learner.restore(snapshot)
        loss, accuracy = learner.measure()
        points.append({**point, "loss": loss, "accuracy": accuracy})
    return {
        "points": points, "steps": steps, "peak_mb": peak, "loaded_mb": loaded,
        "size": learner.size, "user_bytes": learner.user_bytes(), "notes": learner.notes,
    }  # fmt: skip


def _kept(job: Job, learner: Learner) -> tuple[list[tuple[dict[str, Any], Any]], int]:
    """(where the run was, its adapter) at the start, at each mark and at the end; and its steps."""
    looks = int(job.settings.get("looks", LOOKS))
    clock, tokens, step, due = Clock(), 0.0, 0, marks(job.seconds, looks)

    def here() -> tuple[dict[str, Any], Any]:
        spent = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds}
        return {"step": step, **spent, "tokens": round(tokens)}, learner.snapshot()

    kept = [here()]
    while step < job.steps and clock.seconds < job.seconds:
        with clock.running():
            tokens += learner.step()
        step += 1
        if clock.seconds >= due[0] or step == job.steps:
            kept.append(here())
            due = [mark for mark in due if mark > clock.seconds]
    return kept, step
