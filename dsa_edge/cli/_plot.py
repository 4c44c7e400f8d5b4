"""Plots as SVG: inside a page, as files of their own, and as PNG where `resvg-py` is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path

from dsa_edge.atomic import write_atomic

__all__ = ["COLOURS", "DARK", "HEIGHT", "SHAPES", "WIDTH", "Bars", "Lines", "Plot", "write_plots"]

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, MARGIN = 400, 200, 40  # in SVG units: a phone's width, so that text stays readable
EDGE = 8  # around a plot that is a file of its own
PNG_ZOOM = 3  # pixels a unit
DOTS = 60  # at most: more would be a band
# By name, for what draws files asks no system which font is its own.
FONTS = "DejaVu Sans,Liberation Sans,Noto Sans,Roboto,Helvetica,Arial,sans-serif"

COLOURS = {"ink": "#1b1f24", "soft": "#59636e", "line": "#d1d9e0", "a": "#0969da", "b": "#9a6700"}
DARK = {"ink": "#e6edf3", "soft": "#9198a1", "line": "#3d444d", "a": "#4493f8", "b": "#d29922"}
SHAPES = """
svg text{fill:var(--soft);font:13px system-ui,sans-serif}
.grid{stroke:var(--line);stroke-width:1}
.a{stroke:var(--a);fill:none;stroke-width:2}.dot{fill:var(--a)}
.b{stroke:var(--b);fill:none;stroke-width:1;opacity:.7}
"""


@dataclass(frozen=True)
class Lines:
    """A thick line with dots and a thin one, over numbers from 0.

    name: of its file; label: what goes up, with its unit; caption: what the lines are.
    from_zero: what goes up begins at 0, not at the least.
    """

    name: str
    label: str
    caption: str
    thick: Points
    thin: Points
    across: str = "steps"
    from_zero: bool = False

    @property
    def shapes(self) -> str:
        """What is in its SVG; nothing where there are no points."""
        points = [*self.thick, *self.thin]
        if not points:
            return ""
        right = max(max(x for x, _ in points), 1e-9)
        low, high = _range([y for _, y in points] + [0.0] * self.from_zero)
        thick = [_place(x / right, (y - low) / (high - low)) for x, y in self.thick]
        thin = [_place(x / right, (y - low) / (high - low)) for x, y in self.thin]
        shown = thick if len(thick) <= DOTS else []
        dots = "".join(f'<circle class="dot" r="2.5" cx="{x:.1f}" cy="{y:.1f}"/>' for x, y in shown)
        ticks = "".join(
            _text(_place(share, 0)[0], HEIGHT - 24, f"{share * right:.0f}", "middle")
            for share in (0.0, 0.5, 1.0)
        )
        return _frame(self, low, high) + ticks + _line("b", thin) + _line("a", thick) + dots


@dataclass(frozen=True)
class Bars:
    """A bar for each of several counts, numbered from 0; else as `Lines`."""

    name: str
    label: str
    caption: str
    counts: Sequence[int]
    across: str

    @property
    def shapes(self) -> str:
        """What is in its SVG; nothing where there are no counts."""
        most = max(self.counts, default=0)
        if not most:
            return ""
        wide, bars = 1 / len(self.counts), ""
        for i, count in enumerate(self.counts):
            (left, top), (right, foot) = (
                _place(wide * (i + 0.1), count / most),
                _place(wide * (i + 0.9), 0),
            )
            bars += (
                f'<rect class="dot" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                f'height="{foot - top:.1f}"/>'
            )
            if len(self.counts) <= 16 or not i % (len(self.counts) // 8):
                bars += _text((left + right) / 2, HEIGHT - 24, str(i), "middle")
        return _frame(self, 0, most) + bars


Plot = Lines | Bars


def write_plots(folder: str | Path, plots: Sequence[Plot]) -> list[Path]:
    """Write each plot as SVG, and as PNG where `resvg-py` is installed; returns the files.

    Where no font is installed, PNG has no text.

    Raises OSError where the folder cannot be made, AdapterError where there is no room.
    """
    root, written = Path(folder), []
    root.mkdir(parents=True, exist_ok=True)
    for plot in plots:
        svg = _file(plot)
        if svg:
            written.append(root / f"{plot.name}.svg")
            write_atomic(written[-1], svg.encode())
            if find_spec("resvg_py"):
                written.append(root / f"{plot.name}.png")
                write_atomic(written[-1], _png(svg))
    return written


def _file(plot: Plot) -> str:
    """A plot alone, on white: what shows it may know no colour schemes and no variables."""
    shapes = plot.shapes
    if not shapes:
        return ""
    style = SHAPES.replace("system-ui,sans-serif", FONTS)
    for name, colour in COLOURS.items():
        style = style.replace(f"var(--{name})", colour)
    box = f"{-EDGE} {-EDGE} {WIDTH + 2 * EDGE} {HEIGHT + 2 * EDGE}"
    white = f'<rect x="{-EDGE}" y="{-EDGE}" width="100%" height="100%" fill="#fff"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" '
        f'width="{WIDTH + 2 * EDGE}" height="{HEIGHT + 2 * EDGE}">'
        f"<title>{escape(plot.caption)}</title><style>{style}</style>{white}{shapes}</svg>"
    )


def _png(svg: str) -> bytes:
    import resvg_py

    made: bytes = resvg_py.svg_to_bytes(svg_string=svg, zoom=PNG_ZOOM)
    return made


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return low, high if high > low else low + 1


def _place(across: float, up: float) -> tuple[float, float]:
    """Where a point is, from shares of the plot's width and height."""
    return MARGIN + (WIDTH - 1.5 * MARGIN) * across, HEIGHT - MARGIN + (1.7 * MARGIN - HEIGHT) * up


def _frame(plot: Plot, low: float, high: float) -> str:
    """Labels, and lines across at the lowest, middle and highest value."""
    grid = _text(0, 12, plot.label) + _text(WIDTH / 2, HEIGHT - 6, plot.across, "middle")
    for share in (0.0, 0.5, 1.0):
        _, y = _place(0, share)
        value = low + share * (high - low)
        shown = f"{value:.0f}" if high - low >= 10 else f"{value:.2f}"
        grid += f'<line class="grid" x1="{MARGIN}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        grid += _text(0, y + 4, shown)
    return grid


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(kind: str, points: Points) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>' if points else ""
