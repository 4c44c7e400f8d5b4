"""A plot of several curves over time, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Curve", "picture"]

WIDTH, HEIGHT, LEFT, FOOT = 640, 320, 50, 40
LEGEND = 190
COLOURS = (
    "#0969da", "#1a7f37", "#9a6700", "#bc4c00", "#8250df", "#bf3989", "#59636e", "#1b1f24",
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """(seconds, value) points of one peer."""

    name: str
    points: Sequence[tuple[float, float]]


def picture(curves: Sequence[Curve], label: str) -> str:
    """Curves on white, over seconds in logarithms; `label` goes up."""
    points = [point for curve in curves for point in curve.points] or [(1.0, 0.0)]
    across = [math.log10(max(seconds, 0.1)) for seconds, _ in points]
    left, right = math.floor(min(across)), math.ceil(max(across) + 1e-9)
    low, high = min(value for _, value in points), max(value for _, value in points)
    high = high if high > low else low + 1

    def place(seconds: float, value: float) -> tuple[float, float]:
        share = (math.log10(max(seconds, 0.1)) - left) / max(right - left, 1)
        x = LEFT + share * (WIDTH - LEFT - LEGEND)
        return x, HEIGHT - FOOT - (value - low) / (high - low) * (HEIGHT - FOOT - 25)

    shapes = [_text(0, 14, label), _text((WIDTH - LEGEND) / 2, HEIGHT - 6, "seconds of learning")]
    for value in (low, (low + high) / 2, high):
        y = place(1, value)[1]
        shapes.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - LEGEND}" stroke="#d1d9e0"/>')
        shapes.append(_text(0, y + 4, f"{value:.3f}"))
    for power in range(left, right + 1):
        shapes.append(_text(place(10.0**power, low)[0] - 8, HEIGHT - 22, f"{10.0**power:g}"))
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in curve.points))
        shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            + _text(WIDTH - LEGEND + 12, 30 + 18 * number, curve.name, colour)
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}"><rect width="100%" height="100%" fill="#fff"/>{"".join(shapes)}</svg>'
    )


def _text(x: float, y: float, text: str, colour: str = "#59636e") -> str:
    font = "13px DejaVu Sans,Helvetica,Arial,sans-serif"
    return f'<text x="{x:.1f}" y="{y:.1f}" style="font:{font};fill:{colour}">{escape(text)}</text>'
