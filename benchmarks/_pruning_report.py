"""The plot of `pruning.py`: accuracy and cost over the share that was pruned."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

__all__ = ["plot"]

Record = dict[str, Any]
STAGES = {"levelled": "label biases fitted alone", "after": "after learning"}
COSTS = {"probe_step": "step", "prefill_16x32": "prefill", "decode_token": "one token"}


def plot(rows: dict[str, Record], folder: Path) -> None:
    """Write `pruning.png`; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    learned = [row for name, row in rows.items() if name == "whole" or name.startswith("learned")]
    shares = [100 * row["share"] for row in learned]
    for colour, (stage, label) in enumerate(STAGES.items()):
        line = [accuracy(row, stage) for row in learned]
        left.plot(shares, line, f"C{colour}o-", label=label)
        for mark, name in zip("sx", ("magnitude", "random"), strict=True):
            for control in (row for key, row in rows.items() if key.startswith(name)):
                left.plot(
                    100 * control["share"], accuracy(control, stage), f"C{colour}{mark}",
                    label=f"{label}, by {name}",
                )  # fmt: skip
    left.set_ylabel("held-out accuracy")
    whole = learned[0]
    for method, label in COSTS.items():
        right.plot(shares, [1, *(row[method]["ratio"] for row in learned[1:])], "o-", label=label)
    right.plot(shares, [row["mb"] / whole["mb"] for row in learned], "k--", label="bundle")
    right.plot(shares, [1 - s / 100 for s in shares], "k:", label="weights of the layers")
    right.set_ylabel("of the whole base")
    for axes in (left, right):
        axes.set_xlabel("pruned, % of the layers' weights")
        axes.legend(fontsize=7)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "pruning.png", dpi=80)


def accuracy(row: Record, stage: str) -> float:
    """Mean over seeds."""
    return mean(row[key][stage] for key in row if key.startswith("seed"))
