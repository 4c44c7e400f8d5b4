"""One self-contained HTML report of a fit: numbers, learning curve, examples; no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dsa_edge.adapter import write_atomic
from dsa_edge.runtime import Report

__all__ = ["BeforeAfter", "write_curve", "write_report"]

WIDTH, HEIGHT, MARGIN = 640, 240, 44  # of a plot, in SVG units

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--a:#0969da;--b:#9a6700}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--a:#4493f8;
--b:#d29922}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);max-width:44rem;margin:auto;padding:1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid var(--line);padding:.35rem .5rem;text-align:left;vertical-align:top}
th{font-weight:normal;color:var(--soft)}svg{width:100%;height:auto}
text{fill:var(--soft);font-size:13px}.grid{stroke:var(--line);stroke-width:1}
.a{stroke:var(--a);fill:none;stroke-width:2.5}.dot{fill:var(--a)}
.b{stroke:var(--b);fill:none;stroke-width:1;opacity:.7}
.bar{height:.8rem;background:var(--a)}.wide{width:40%}
figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.9rem}
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
    checked = [p for p in report.curve if p.held_out_loss is not None]
    figures = _figure(
        "Loss (nats)",
        "Loss against steps: the thick line is the held-out loss, the thin one each step's "
        "training loss over its perturbed lanes.",
        [(p.step, p.held_out_loss or 0.0) for p in checked],
        [(p.step, p.loss) for p in report.curve],
    )
    if any(p.held_out_accuracy is not None for p in checked):
        points = [(p.step, p.held_out_accuracy or 0.0) for p in checked]
        figures += _figure("Accuracy", "Held-out accuracy against steps.", points, [])
    body = f"<table>{rows}</table><h2>Learning curve</h2>{figures}"
    _write(path, title, f"{body}{_blocks(report)}{_examples(examples)}{_settings(report)}")


def write_curve(
    path: str | Path, points: Sequence[tuple[int, float]], law: Sequence[float], verdict: str
) -> None:
    """Write the learning curve over data: (examples, loss) of each fit, and the law's losses."""
    sizes = sorted({size for size, _ in points})
    means = [(size, _mean([loss for n, loss in points if n == size])) for size in sizes]
    lines = sorted({(size, value) for (size, _), value in zip(points, law, strict=True)})
    caption = f"Loss against examples: means of the seeds, and the fitted law. {verdict}."
    figure = _figure("Loss (nats)", caption, means, lines, "examples")
    _write(path, "Learning curve over data", figure)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _write(path: str | Path, title: str, body: str) -> None:
    """A page of its own, without anything from elsewhere."""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}</body></html>"
    )
    write_atomic(Path(path), html.encode())


def _blocks(report: Report) -> str:
    """Which block serves how many prompts, and which ones; nothing where there is one block."""
    if not report.routes:
        return ""
    most = max(report.routes)
    head = "<tr><th>block</th><th>prompts</th><th></th><th>among them examples</th></tr>"
    rows = "".join(
        f'<tr><td>{block}</td><td>{count}</td><td class="wide"><div class="bar" style="width:'
        f'{100 * count / most:.0f}%"></div></td><td>{", ".join(map(str, own)) or "–"}</td></tr>'
        for block, (count, own) in enumerate(
            zip(report.routes, report.served_examples, strict=True)
        )
    )
    caption = (
        f"<p>Examples are named by their places in the file, from 0. Entropy of the mean route: "
        f"{report.evenness or 0:.2f} of 1; at 1 all blocks serve alike, at 0 one serves all.</p>"
    )
    return f"<h2>Blocks</h2><table>{head}{rows}</table>{caption}"


def _examples(examples: Sequence[BeforeAfter]) -> str:
    if not examples:
        return ""
    rows = "".join(
        f"<tr><td>{escape(e.prompt)}</td><td>{escape(e.right)}</td>"
        f"<td>{escape(e.before)}</td><td>{escape(e.after)}</td></tr>"
        for e in examples
    )
    head = "<tr><th>prompt</th><th>right</th><th>before</th><th>after</th></tr>"
    return f"<h2>Before and after</h2><table>{head}{rows}</table>"


def _settings(report: Report) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_shown(value))}</td></tr>"
        for name, value in [*report.hyperparameters.items(), ("seed", report.seed)]
        if value != ""
    )
    return f"<h2>Settings</h2><table>{rows}</table>"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _figure(
    label: str,
    caption: str,
    thick: Sequence[tuple[float, float]],
    thin: Sequence[tuple[float, float]],
    across: str = "steps",
) -> str:
    """A line plot as inline SVG."""
    points = [*thick, *thin]
    if not points:
        return ""
    right = max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    high = high if high > low else low + 1

    def place(x: float, y: float) -> tuple[float, float]:
        left = MARGIN + (WIDTH - 1.5 * MARGIN) * x / right
        return left, HEIGHT - MARGIN + (1.5 * MARGIN - HEIGHT) * (y - low) / (high - low)

    grid = ""
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        _, y = place(0, value)
        grid += f'<line class="grid" x1="{MARGIN}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        grid += f'<text x="0" y="{y + 4:.1f}">{value:.2f}</text>'
    for step in (0, right / 2, right):
        x, _ = place(step, low)
        grid += f'<text x="{x:.1f}" y="{HEIGHT - 18}" text-anchor="middle">{step:.0f}</text>'
    grid += f'<text x="{WIDTH / 2}" y="{HEIGHT - 2}" text-anchor="middle">{across}</text>'
    dots = "".join(
        f'<circle class="dot" r="3.5" cx="{x:.1f}" cy="{y:.1f}"/>'
        for x, y in (place(*p) for p in thick)
    )
    lines = _line("b", [place(*p) for p in thin]) + _line("a", [place(*p) for p in thick])
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<text x="0" y="14">{escape(label)}</text>{grid}{lines}{dots}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _line(kind: str, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>' if points else ""
