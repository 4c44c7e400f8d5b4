"""Bounds of memory while choosing, generating and measuring: refused alike, and enough alike."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from manifests import edit_manifest
from native_runner import Library, Runner, RunnerError

from dsa_edge.errors import BudgetError, UsageError
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Example, Personalizer

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)

Bundles = Callable[[str], Path]
PROMPT, CHOICES = "He did not like the film", [" a", " green in the morning"]
TOO_LITTLE = (
    r"memory_mb is 1, but this model needs about \d+ MB: "
    r"raise memory_mb or export a smaller model\."
)
TOO_LONG = r"a prompt of \d+ tokens needs about (\d+) MB: raise memory_mb or shorten the prompt\."
VERBS = ("choose", "generate", "evaluate")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    lines = [{"prompt": f"Garden {i} was", "response": CHOICES[i % 2]} for i in range(150)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


def words(verb: str, data: Path) -> list[str | Path]:
    if verb == "evaluate":
        return ["--data", data]
    more = ["--choices", ",".join(CHOICES)] if verb == "choose" else ["--max-tokens", "8"]
    return ["--prompt", PROMPT, *more]


@pytest.mark.parametrize("verb", VERBS)
def test_too_little_memory_is_refused_as_in_python(
    library: Library, bundles: Bundles, data: Path, verb: str
) -> None:
    bundle, bound = bundles("llama"), Budget(memory_mb=1)
    error = library.run(verb, bundle, *words(verb, data), "--memory-mb", "1", code=1)["error"]
    assert re.search(TOO_LITTLE, error)
    with Personalizer.open(bundle, backend="executorch", threads=1) as me:
        calls = {
            "choose": lambda: me.choose(PROMPT, CHOICES, budget=bound),
            "generate": lambda: me.generate(PROMPT, 8, budget=bound),
            "evaluate": lambda: me.evaluate([Example(PROMPT, " a")], budget=bound),
        }
        with pytest.raises(BudgetError, match=TOO_LITTLE):
            calls[verb]()


@pytest.mark.parametrize("name", ["llama", "gated"])
@pytest.mark.parametrize("verb", VERBS)
def test_what_a_refusal_asks_for_is_enough_and_changes_no_answer(
    library: Library, bundles: Bundles, data: Path, verb: str, name: str
) -> None:
    if library.sanitized:
        pytest.skip("what sanitizers take of memory is no model's")
    given = verb, bundles(name), *words(verb, data), "--threads", "1"
    error = library.run(*given, "--memory-mb", "1", code=1)["error"]
    (needed,) = re.findall(r"needs about (\d+) MB", error)
    bound = f"{int(needed) + 8}"  # a second batch of prompts finds the engine's own arrays there
    assert library.run(*given, "--memory-mb", bound) == library.run(*given)


def test_what_is_too_long_for_memory_is_named_as_in_python(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    """A refusal comes before anything runs, so a manifest that says so makes a base for it."""
    bundle = tmp_path / "wide.dsa"
    shutil.copytree(bundles("llama"), bundle)
    edit_manifest(bundle / "manifest.json", lambda m: m["decoder"].update(max_positions=100_000))
    words = "He did not like the film " * 1500
    told = library.run("generate", bundle, "--prompt", words, "--memory-mb", "1", code=1)["error"]
    (needed,) = re.findall(rf"memory_mb is 1, but {TOO_LONG}", told)
    bound = f"{int(needed) - 8}"  # and whatever the bound is, as much is asked for
    told = library.run("generate", bundle, "--prompt", words, "--memory-mb", bound, code=1)["error"]
    (again,) = re.findall(rf"memory_mb is {bound}, but {TOO_LONG}", told)
    assert abs(int(again) - int(needed)) < 4
    with (
        Personalizer.open(bundle, backend="executorch", threads=1, check_hashes=False) as me,
        pytest.raises(BudgetError, match=TOO_LONG),
    ):
        me.generate(words, 8, budget=Budget(memory_mb=1))


def test_a_bound_holds_for_one_call_of_many(library: Library, bundles: Bundles) -> None:
    def choose(me: Runner, memory_mb: float, **more: int) -> list[float]:
        asked = {"prompt": PROMPT, "choices": CHOICES, "memory_mb": memory_mb, **more}
        return list(me.ask("dsa_choose_with", **asked)["probabilities"])

    with Runner(library, bundles("llama")) as me:
        free = choose(me, 0)
        for _ in range(2):
            with pytest.raises(RunnerError, match="raise memory_mb"):
                choose(me, 1)
            assert choose(me, 4000) == choose(me, 0) == free
        assert choose(me, 1, size=12) == free  # built before the bound was there
        for wrong in (-1, float("inf"), float("nan")):
            with pytest.raises(RunnerError, match="expected a number more than 0"):
                choose(me, wrong)
            with pytest.raises(UsageError, match="expected a number more than 0"):
                Budget(memory_mb=wrong)
