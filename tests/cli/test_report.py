"""The HTML report and its plots: what they hold, and how a real browser shows them on a phone."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import browsers
import pytest

from dsa_edge.cli._answers import before_and_after
from dsa_edge.cli._html import BeforeAfter, plots_of, write_report
from dsa_edge.cli._plot import Bars, Lines, write_plots
from dsa_edge.runtime import (
    Budget,
    Evaluation,
    Example,
    Personalizer,
    Privacy,
    Progress,
    Report,
)

NAMES = ("loss", "accuracy", "memory", "blocks")
LONG = "an unbroken" + "word" * 60
HOSTILE = BeforeAfter("<script>alert(1)</script> It was", LONG, "</td>\x00", '" onload="x')
PAIRS = [Example("a dull film It was", " terrible", (" terrible", " great")),
         Example("a warm film It was", " great", (" terrible", " great"))] * 16  # fmt: skip


def report(losses: tuple[float, ...] = (0.9, 0.7, 0.65, 0.5), blocks: int = 3) -> Report:
    """What a fit of a few steps might tell."""
    curve = tuple(
        Progress(i + 1, loss, 0.1 * i, 9 * i, loss - 0.1 if i % 2 else None,
                 0.5 + 0.1 * i if i % 2 else None, 200.0 + 5 * i)
        for i, loss in enumerate(losses)
    )  # fmt: skip
    one = Evaluation(8, 0.7, 0.5)
    return Report(
        "improved", 1, len(losses), 64, 8, one, one, one, 1.0, 0.2, 0.1, 100, 230.0, 400, 100, 0,
        {"rate": 0.01, "estimator": "antithetic"}, routes=(40, 16, 8)[:blocks],
        served_examples=((0, 1), (2,), ())[:blocks], evenness=0.8 if blocks else None, curve=curve,
    )  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Path:
    facts = [("verdict", "improved"), ("adapter", LONG)]
    write_report(tmp_path / "me.html", report(), "smol.dsa on <notes>", facts, [HOSTILE] * 3)
    return tmp_path / "me.html"


def test_it_is_one_file_with_every_plot_and_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for label in ("Loss (nats)", "Accuracy", "Memory (MB)", "Prompts served"):
        assert f'aria-label="{label}"' in text
    assert text.count("<svg") == len(NAMES)
    assert not re.search(r"https?:|url\(|@import|<(script|link|img|iframe)|\son\w+=[^&]", text)
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt; It was") == 3
    assert "prefers-color-scheme:dark" in text
    assert "was 230 MB" in text


def test_without_numbers_there_is_no_plot(tmp_path: Path) -> None:
    write_report(tmp_path / "none.html", report((), 0), "no step", [])
    assert "<svg" not in (tmp_path / "none.html").read_text()
    nan = report((float("nan"),) * 4, 0)  # as a private fit has it, without losses
    write_report(tmp_path / "private.html", nan, "private", [])
    assert 'aria-label="Loss' not in (tmp_path / "private.html").read_text()
    assert write_plots(tmp_path / "plots", plots_of(report((), 0))) == []


def test_a_plot_of_one_point_or_of_many_blocks_is_drawn(tmp_path: Path) -> None:
    plots = [Lines("one", "y", "c", [(0, 5.0)], []), Bars("many", "n", "c", range(100), "blocks")]
    for path in write_plots(tmp_path, plots):
        if path.suffix == ".svg":
            assert "nan" not in path.read_text()
            ET.fromstring(path.read_text())


def test_the_same_plots_are_files(tmp_path: Path) -> None:
    written = write_plots(tmp_path / "plots", plots_of(report()))
    svg = [path for path in written if path.suffix == ".svg"]
    assert [path.stem for path in svg] == list(NAMES)
    for path in svg:
        ET.fromstring(path.read_text())  # well-formed
        assert "var(" not in path.read_text()  # programs that draw files know no variables


def test_the_same_plots_are_png(tmp_path: Path) -> None:
    if not find_spec("resvg_py"):
        pytest.skip("needs resvg-py: pip install 'dsa-edge[plots]'")
    written = write_plots(tmp_path / "plots", plots_of(report()))
    png = [path for path in written if path.suffix == ".png"]
    assert [path.stem for path in png] == list(NAMES)
    for path in png:
        assert struct.unpack(">II", path.read_bytes()[16:24]) == (1248, 648)
    if not any(Path("/usr/share/fonts").rglob("*.ttf")):
        pytest.skip("no font is installed, so PNG has no text")
    plot = Lines("plain", "", "c", [(1, 1), (2, 3)], [], across="")
    plain, labelled = (
        write_plots(tmp_path / label, [replace(plot, label=label)])[1].read_bytes()
        for label in ("x", "Loss (nats)")
    )
    assert plain != labelled


def colours(png: bytes) -> int:
    """How many different bytes the image's filtered rows have; a plain surface has two or less."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return len(set(zlib.decompress(data)))


@pytest.fixture
def browser() -> str:
    found = browsers.find()
    if found is None:
        pytest.skip("no Chromium or Chrome is installed")
    return found


def test_a_browser_shows_it_on_a_phone_and_on_a_desk(
    browser: str, page: Path, tmp_path: Path
) -> None:
    for width in (320, 360, 1000):
        told = browsers.measured(browser, page, width, tmp_path)
        assert told["needs"] <= width  # nothing sticks out
        assert told["plots"] == len(NAMES)
        assert told["inside"]  # no label is cut
        assert told["text"] >= 9  # pixels: can be read
        assert told["text"] >= 11  # pixels: can be read
        assert told["requests"] == 0
    assert colours(browsers.screenshot(browser, page, 500, 1600, tmp_path)) > 20


def test_a_browser_shows_it_light_and_dark(browser: str, page: Path, tmp_path: Path) -> None:
    light = browsers.measured(browser, page, 360, tmp_path)
    dark = browsers.measured(
        browser, page, 360, tmp_path, "--blink-settings=preferredColorScheme=0"
    )
    assert (light["dark"], light["ink"]) == (False, "rgb(27, 31, 36)")
    assert (dark["dark"], dark["ink"]) == (True, "rgb(230, 237, 243)")


def test_answers_are_of_examples_that_the_fit_did_not_learn_from(
    bundle: Path, tmp_path: Path
) -> None:
    with Personalizer.open(bundle, tmp_path / "me") as me:
        done = me.fit(PAIRS, Budget(steps=3), seed=5)
        shown = before_and_after(me, PAIRS, done, 0, Budget())
        assert 0 < len(shown) == min(done.held_out, 6)
        assert all(each.after in PAIRS[0].choices for each in shown)
        assert [p.memory_mb is not None and p.memory_mb > 20 for p in done.curve] == [True] * 3
        too_long = [Example("a dull film " * 5000, " x")]
        assert before_and_after(me, too_long, done, 0, Budget()) == []


def test_a_private_fit_shows_no_answers_and_its_memory(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting", reason="needs dp-accounting")
    many = [Example(f"{e.prompt} {i}", e.response, e.choices) for i in range(100) for e in PAIRS]
    with Personalizer.open(bundle, tmp_path / "me") as me:
        done = me.fit(many, Budget(steps=2), privacy=Privacy(8, 1e-4))
        assert before_and_after(me, many, done, 0, Budget()) == []
    assert [plot.name for plot in plots_of(done) if plot.shapes] == ["memory"]
