"""One self-contained HTML report of a fit: numbers, plots, examples; for a phone as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dsa_edge.adapter import write_atomic
from dsa_edge.cli._plot import COLOURS, DARK, HEIGHT, SHAPES, WIDTH, Bars, Lines, Plot
from dsa_edge.runtime import Report

__all__ = ["BeforeAfter", "plots_of", "write_curve", "write_report"]

NARROW = "40rem"  # below it, as on a phone, a row of a wide table becomes a card


def _scheme(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in colours.items())


_STYLE = f"""
:root{{color-scheme:light dark;{_scheme(COLOURS)}}}
@media(prefers-color-scheme:dark){{:root{{{_scheme(DARK)}}}}}
body{{font:16px/1.5 system-ui,sans-serif;color:var(--ink);max-width:44rem;margin:auto;padding:1rem;
overflow-wrap:anywhere}}
h1{{font-size:1.4rem}}h2{{font-size:1.1rem;margin-top:2rem}}
table{{border-collapse:collapse;width:100%}}
td,th{{border-bottom:1px solid var(--line);padding:.35rem .5rem;text-align:left;vertical-align:top}}
th{{font-weight:normal;color:var(--soft);overflow-wrap:break-word}}
svg{{width:100%;height:auto}}.text{{white-space:pre-wrap}}
@media(min-width:{NARROW}){{svg text{{font-size:9px}}}}
@media(max-width:{NARROW}){{.cards thead{{display:none}}
.cards tr,.cards td{{display:block;border:0;padding:.1rem 0}}
.cards tr{{border-bottom:1px solid var(--line);padding:.6rem 0}}
.cards td::before{{content:attr(data-name) ": ";color:var(--soft)}}}}
figure{{margin:1rem 0}}figcaption{{color:var(--soft);font-size:.9rem}}
"""


@dataclass(frozen=True)
class BeforeAfter:
    """One example: its prompt, the right answer, and the answers before and after."""

    prompt: str
    right: str
    before: str
    after: str


def write_report(
    path: str | Path,
    report: Report,
    title: str,
    facts: Sequence[tuple[str, str]],
    examples: Sequence[BeforeAfter] = (),
) -> None:
    """Write the report; `facts` are the rows of its first table."""
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)
    curves, blocks = "".join(map(_figure, _curves(report))), _blocks(report)
    body = f"<table>{rows}</table><h2>Learning curve</h2>{curves}"
    _write(path, title, f"{body}{blocks}{_examples(examples)}{_settings(report)}")


def plots_of(report: Report) -> list[Plot]:
    """The plots of a report: loss, accuracy, memory, blocks; those that it has numbers for."""
    return [*_curves(report), *([_served(report)] if report.routes else [])]


def _curves(report: Report) -> list[Plot]:
    """What is drawn over steps. Under privacy there are no losses to draw."""
    checked = [p for p in report.curve if math.isfinite(_or_nan(p.held_out_loss))]
    loss = Lines(
        "loss",
        "Loss (nats)",
        "Loss against steps: the thick line is the held-out loss, the thin one each step's "
        "training loss over its perturbed lanes.",
        [(p.step, _or_nan(p.held_out_loss)) for p in checked],
        [(p.step, p.loss) for p in report.curve if math.isfinite(p.loss)],
    )
    right = [(p.step, p.held_out_accuracy) for p in checked if p.held_out_accuracy is not None]
    accuracy = Lines("accuracy", "Accuracy", "Held-out accuracy against steps.", right, [])
    used = [(p.step, p.memory_mb) for p in report.curve if p.memory_mb is not None]
    caption = (
        "Resident memory of the process after each step; the highest within the fit, the prompts "
        f"before its steps among it, was {report.peak_mb:.0f} MB."
    )
    return [loss, accuracy, Lines("memory", "Memory (MB)", caption, used, [], from_zero=True)]


def write_curve(
    path: str | Path, points: Sequence[tuple[int, float]], law: Sequence[float], verdict: str
) -> None:
    """Write the learning curve over data: (examples, loss) of each fit, and the law's losses."""
    sizes = sorted({size for size, _ in points})
    means = [(size, _mean([loss for n, loss in points if n == size])) for size in sizes]
    lines = sorted({(size, value) for (size, _), value in zip(points, law, strict=True)})
    caption = f"Loss against examples: means of the seeds, and the fitted law. {verdict}."
    figure = _figure(Lines("curve", "Loss (nats)", caption, means, lines, "examples"))
    _write(path, "Learning curve over data", figure)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _write(path: str | Path, title: str, body: str) -> None:
    """A page of its own, without anything from elsewhere."""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{SHAPES}{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}</body></html>"
    )
    write_atomic(Path(path), html.encode())


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _served(report: Report) -> Bars:
    caption = (
        f"Prompts that each block served. Entropy of the mean route: {report.evenness or 0:.2f} of "
        "1; at 1 all blocks serve alike, at 0 one serves all."
    )
    return Bars("blocks", "Prompts served", caption, report.routes, "blocks")


def _blocks(report: Report) -> str:
    """Which block serves how many prompts, and which ones; nothing where there is one block."""
    if not report.routes:
        return ""
    rows = [
        (str(block), str(count), ", ".join(map(str, own)) or "–")
        for block, (count, own) in enumerate(
            zip(report.routes, report.served_examples, strict=True)
        )
    ]
    shown = _table(("block", "prompts", "among them examples"), rows)
    told = "<p>Examples are named by their places in the file, from 0.</p>"
    return f"<h2>Blocks</h2>{_figure(_served(report))}{shown}{told}"


def _examples(examples: Sequence[BeforeAfter]) -> str:
    if not examples:
        return ""
    rows = [(e.prompt, e.right, e.before, e.after) for e in examples]
    shown = _table(("prompt", "right", "before", "after"), rows, "cards")
    return f"<h2>Before and after</h2>{shown}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Rows under names; of kind `cards`, each is a card on a phone."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = "".join(
        "<tr>"
        + "".join(
            f'<td class="text" data-name="{escape(name)}">{escape(value)}</td>'
            for name, value in zip(names, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'


def _figure(plot: Plot) -> str:
    """A plot with its caption; nothing where it has no points."""
    shapes = plot.shapes
    if not shapes:
        return ""
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(plot.label)}">{shapes}</svg>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _settings(report: Report) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_shown(value))}</td></tr>"
        for name, value in [*report.hyperparameters.items(), ("seed", report.seed)]
        if value != ""
    )
    return f"<h2>Settings</h2><table>{rows}</table>"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
