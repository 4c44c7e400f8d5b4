"""Each message that docs/troubleshooting.md quotes is what a user is told, for that cause."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from snippets import Page
from tiny import change

from dsa_edge.cli import main
from dsa_edge.runtime import Personalizer

PAGE = Page("docs/troubleshooting.md")
FIT = ["personalize", "smol.dsa", "--store", "me/", "--steps", "1", "--data"]
LABELS = ["--template", "{text} It was", "--labels", "terrible,great"]
EXPORT = ["export", "SmolLM2-135M-Instruct/", "new.dsa"]
HELD = ExitStack()  # what another program would hold; closed after each test
CASES: dict[str, tuple[Callable[[], object], list[str]]] = {}


def case(title: str, *argv: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Under the heading `title`, `argv` fails after the function was called."""

    def add(prepare: Callable[[], object]) -> Callable[[], object]:
        CASES[title] = prepare, list(argv)
        return prepare

    return add


def nothing() -> None:
    """The command alone is wrong."""


def write(name: str, text: str) -> None:
    Path(name).write_text(text)


case("The path of the model is wrong", "export", "SmolLM2/", "new.dsa")(nothing)
case("The bundle exists already", "export", "SmolLM2-135M-Instruct/", "smol.dsa")(nothing)
case("It is no bundle", "inspect", "SmolLM2-135M-Instruct/")(nothing)
case("There is no such bundle", "inspect", "other.dsa")(nothing)
case("Labelled texts without a template", *FIT, "reviews.jsonl")(nothing)
case("Half of template and labels", *FIT, "reviews.jsonl", "--labels", "bad,good")(nothing)
case("The template has no place for the text", *FIT, "reviews.jsonl", "--template", "It was",
     "--labels", "terrible,great")(nothing)  # fmt: skip
case("There is no file of examples", *FIT, "mail.jsonl")(nothing)
case("There is no such version", "rollback", "smol.dsa", "--store", "me/", "--version", "7")(
    nothing
)
case("Too little memory", *FIT, "notes.jsonl", "--memory-mb", "50")(nothing)
case("Too few examples for a guarantee", *FIT, "notes.jsonl", "--privacy", "8,1e-4")(nothing)
case("No such device", "bench", "smol.dsa", "--target", "telnet:board")(nothing)


def make_key() -> None:
    Path("my.key").write_bytes(bytes(32))
    Path("my.key").chmod(0o600)


NOT_SEALED = "A key for a store that is not sealed"
case(NOT_SEALED, "history", "smol.dsa", "--store", "me/", "--key", "file:my.key")(make_key)


@case("Another architecture", *EXPORT)
def _() -> None:
    change(
        Path("SmolLM2-135M-Instruct/config.json"), {"model_type": "mamba", "architectures": None}
    )


@case("The checkpoint is quantized already", *EXPORT)
def _() -> None:
    stated = {"quantization_config": {"quant_method": "awq"}}
    change(Path("SmolLM2-135M-Instruct/config.json"), stated)


@case("Weights are missing", *EXPORT)
def _() -> None:
    next(Path("SmolLM2-135M-Instruct").glob("*.safetensors")).unlink()


@case("The bundle was changed or damaged", "verify", "smol.dsa")
def _() -> None:
    file = Path("smol.dsa/onnx/base.onnx_data")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)


@case("A file of the bundle is missing", "verify", "smol.dsa")
def _() -> None:
    Path("smol.dsa/tokenizer.json").unlink()


@case("The bundle is of another version", "inspect", "smol.dsa")
def _() -> None:
    change(Path("smol.dsa/manifest.json"), {"schema": 1})


@case("A line is no JSON", *FIT, "bad.jsonl")
def _() -> None:
    write("bad.jsonl", '{"prompt": "Dear", "response": " team"}\nDear team\n')


@case("A label that is not among the labels", *FIT, "bad.jsonl", *LABELS)
def _() -> None:
    write("bad.jsonl", json.dumps({"text": "so so", "label": "fine"}))


@case("A prompt is too long", *FIT, "bad.jsonl")
def _() -> None:
    write("bad.jsonl", json.dumps({"prompt": "word " * 3000, "response": "."}))


@case("A folder holds no adapter", "import-adapter", "smol.dsa", "other/", "--store", "me/")
def _() -> None:
    Path("other").mkdir()


@case("The store belongs to another bundle", "history", "other.dsa", "--store", "me/")
def _() -> None:
    main(["export", "SmolLM2-135M-Instruct/", "other.dsa", "--rank", "8", "--no-verify"])


@case("Another program is changing the store", *FIT, "notes.jsonl")
def _() -> None:
    me = HELD.enter_context(Personalizer.open("smol.dsa", store="me/"))
    HELD.enter_context(me._store.writing())


@case("A package is missing", "history", "smol.dsa", "--store", "sealed/", "--key", "file:me.key")
def _() -> None:
    patch = HELD.enter_context(pytest.MonkeyPatch.context())
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        patch.delitem(sys.modules, name)
    patch.setitem(sys.modules, "cryptography", None)


@case("The store is sealed", "history", "smol.dsa", "--store", "sealed/")
def _() -> None:
    main(["personalize", "smol.dsa", "--store", "sealed/", "--data", "notes.jsonl", "--steps", "1",
          "--key", "file:me.key"])  # fmt: skip


@case("Another key", "history", "smol.dsa", "--store", "sealed/", "--key", "file:my.key")
def _() -> None:
    main(["personalize", "smol.dsa", "--store", "sealed/", "--data", "notes.jsonl", "--steps", "1",
          "--key", "file:me.key"])  # fmt: skip
    make_key()


def quoted() -> dict[str, str]:
    """Heading → the message under it, as the page has it; `…` stands for what varies."""
    found = re.findall(r"^### (.+)\n\n```text\n(.+)\n```$", PAGE.text, re.MULTILINE)
    return dict(found)


def test_each_message_of_the_page_has_a_case() -> None:
    assert list(quoted()) == re.findall(r"^### (.+)$", PAGE.text, re.MULTILINE)
    assert set(quoted()) == set(CASES)


@pytest.mark.parametrize("title", CASES)
def test_the_message_is_what_is_said(
    title: str, place: Path, learned: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    learned()
    prepare, argv = CASES[title]
    with HELD:
        prepare()
        capsys.readouterr()
        assert main(argv) in (1, 2)
    pattern = ".+?".join(map(re.escape, quoted()[title].split("…")))
    said = capsys.readouterr().err.strip()
    assert re.fullmatch(pattern, said), said
