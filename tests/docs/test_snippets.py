"""Every command and all Python of the README and of docs/, run as they stand on a tiny model.

What cannot be run here is in `elsewhere.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from elsewhere import KERNELS, LANGUAGES, NOT_HERE, QUICKER, REFUSED
from props import MODEL, TEXTS
from snippets import PAGES, ROOT, Page

from dsa_edge.cli import main
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Personalizer, _plan

EXPORT = Callable[[list[str]], int]
PUT = Callable[[], None]
SHELL = [page for page in PAGES if page.commands()]
PYTHON = [page for page in PAGES if page.python()]
README = Page("README.md")
PLAIN = [("bench", ["compare"])]  # what no option makes quicker
CAT = re.compile(r"\$\(cat ([\w.]+)\)")


def elsewhere(command: list[str]) -> str | None:
    """The entry of `NOT_HERE` that a command begins with."""
    line = " ".join(command)
    return next((start for start in NOT_HERE if line.startswith(start)), None)


def runs(command: list[str]) -> bool:
    """Whether a command runs here: it is not elsewhere, and what it needs is installed."""
    if elsewhere(command):
        return False
    if command[0] == "optimum-cli":
        return False  # by `test_optimums_commands_work_as_they_stand`
    return all(library_path(kernels) for word, kernels in KERNELS.items() if word in command)


def call(command: list[str], export: EXPORT) -> int:
    """Run a command, quicker where a verb has a quicker way."""
    program, verb, *words = command
    assert program == "dsa-edge", f"{program} is neither run here nor in elsewhere.py"
    words = [CAT.sub(lambda found: Path(found[1]).read_text(), word) for word in words]
    if verb == "export":
        return export(words)
    quicker = [] if (verb, words[:1]) in PLAIN else QUICKER.get(verb, [])
    if words[-2:-1] != [">"]:
        return main([verb, *words, *quicker])
    with Path(words[-1]).open("w") as file, redirect_stdout(file):
        return main([verb, *words[:-2], *quicker])


@pytest.mark.parametrize("page", SHELL, ids=lambda page: page.name)
def test_the_commands_work_as_they_stand(
    page: Page, place: Path, learned: PUT, export_once: EXPORT,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # A bound on memory counts the process, and this one has run hundreds of tests.
    monkeypatch.setattr(_plan, "resident_mb", lambda: 200.0)
    for name, text in page.files().items():
        (place / name).write_text(text)
    commands = [command for command in page.commands() if runs(command)]
    if any(command[0] == "optimum-cli" for command in page.commands()):
        export_once([f"{MODEL}/", "small.dsa"])  # by the test below
    needing = [command for command in commands if "smol.dsa" in command]
    if needing and needing[0][1] != "export":
        learned()
    for command in commands:
        refused = " ".join(command[:2]) in REFUSED
        assert call(command, export_once) == refused, (command, capsys.readouterr().err)
    if page == README:
        assert (place / "me.html").exists()
        assert (place / "prompt.txt").read_text().count("Sentiment:") == 5


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_the_python_works_as_it_stands(
    page: Page, place: Path, learned: PUT, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in page.files().items():
        (place / name).write_text(text)
    code = page.python()
    if "federated" in code:
        pytest.importorskip("flwr", reason="needs Flower: pip install 'dsa-edge[federated]'")
    if '"smol.dsa"' in code and not re.search(r'^export\(.*"smol.dsa"\)', code, re.MULTILINE):
        learned()
    real = Personalizer.fit

    def quick(self: Personalizer, examples: Any, budget: Any = None, **more: Any) -> Any:
        assert budget is None or budget.seconds == 60
        return real(self, examples, Budget(steps=2), **more)

    monkeypatch.setattr(Personalizer, "fit", quick)
    rows = [(f"{text} {i}", label) for i in range(128) for label, text in enumerate(TEXTS[:2])]
    exec(compile(code, page.name, "exec"), {"rows": rows})


def test_optimums_commands_work_as_they_stand(place: Path, optimum_cli: Any) -> None:
    for command in Page("docs/optimum.md").commands():
        if command[0] == "optimum-cli":
            code, _, err = optimum_cli(*command[1:])
            assert code == 0, (command, err)


def test_every_block_is_run_or_has_a_reason() -> None:
    told = {fence.language for page in PAGES for fence in page.fences()}
    assert told - {"sh", "python"} == set(LANGUAGES)
    used = {elsewhere(command) for page in PAGES for command in page.commands()} - {None}
    assert used == set(NOT_HERE)
    verbs = {c[1] for page in PAGES for c in page.commands() if c[0] == "dsa-edge"}
    assert verbs >= {"export", "personalize", "generate", "evaluate", *QUICKER}


def test_what_is_installed_and_made_exists() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in [command for page in PAGES for command in page.commands()]:
        if command[:2] == ["pip", "install"]:
            for extra in re.findall(r"dsa-edge\[([\w,]+)\]", command[2]):
                assert all(f"\n{name} = [" in project for name in extra.split(",")), command
        if "python" in command:
            assert (ROOT / command[command.index("python") + 1]).exists(), command
        if command[0] == "make":
            assert f"\n{command[1]}:" in makefile, command


def test_the_example_lines_are_examples(place: Path) -> None:
    from dsa_edge.runtime import Labels, read_examples

    (fence,) = README.fences("json")
    (place / "all.jsonl").write_text(fence.text)
    labels = Labels("{text} It was", ("terrible", "great"))
    chat = lambda messages, _: "".join(m["content"] for m in messages)  # noqa: E731
    assert len(read_examples(place / "all.jsonl", labels, chat)) == 3
