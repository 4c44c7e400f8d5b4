"""The README's own commands and code, run as they stand on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tiny import change

from dsa_edge.cli import main
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import DeviceState, Personalizer, _conditions

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TEXTS = ["a dull film", "a warm film"] * 8


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


class Cool:
    """A device that may always learn."""

    def read(self) -> DeviceState:
        return DeviceState(True, 100.0, 30.0, 0.0)


@pytest.fixture
def place(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README speaks of; the base is tiny, its context is not."""
    change(tiny_folder / "config.json", {"max_position_embeddings": 1024})
    folder = tmp_path / "place"
    folder.mkdir()
    tiny_folder.rename(folder / "SmolLM2-135M-Instruct")
    (notes,) = blocks("json")
    (folder / "notes.jsonl").write_text("\n".join(notes.splitlines()[:2]))
    labelled = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    for name in ("reviews.jsonl", "test.jsonl"):
        (folder / name).write_text("\n".join(map(json.dumps, labelled)))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(_conditions, "LinuxDevice", Cool)
    return folder


def test_the_commands_work_as_they_stand(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("dsa-edge ")]
    assert {command[1] for command in commands} >= {"export", "personalize", "generate", "evaluate"}
    if library_path("dsa_executorch") is None:  # no compiler: ExecuTorch lacks our ops
        commands = [c for c in commands if "both.dsa" not in c]
    for command in commands:
        quick = ["--steps", "2"] if command[1] in ("personalize", "tune") else []
        assert main([*command[1:], *quick]) == 0, (command, capsys.readouterr().err)
    assert (place / "me.html").exists()
    assert (place / "prompt.txt").read_text().count("Sentiment:") == 5


def test_the_python_works_as_it_stands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n".join(blocks("python"))
    real = Personalizer.fit

    def quick(self: Personalizer, examples: Any, budget: Any = None, **more: Any) -> Any:
        from dsa_edge.runtime import Budget

        assert budget is None or budget.seconds == 60
        return real(self, examples, Budget(steps=2), **more)

    monkeypatch.setattr(Personalizer, "fit", quick)
    rows = [(f"{text} {i}", label) for i in range(128) for label, text in enumerate(TEXTS[:2])]
    exec(compile(code, "README.md", "exec"), {"rows": rows})
    assert (place / "smol.dsa" / "manifest.json").exists()


def test_the_example_lines_are_examples(place: Path) -> None:
    from dsa_edge.runtime import Labels, read_examples

    (lines,) = blocks("json")
    (place / "all.jsonl").write_text(lines)
    labels = Labels("{text} It was", ("terrible", "great"))
    chat = lambda messages, _: "".join(m["content"] for m in messages)  # noqa: E731
    assert len(read_examples(place / "all.jsonl", labels, chat)) == 3
