"""The fuzzers' seeds, and what they once found, through the same targets, without a fuzzer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import CORPUS, TARGETS

FILES = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("*/*"))


@pytest.mark.parametrize("name", FILES)
def test_an_input_of_the_corpus_gives_a_result_or_our_error(name: str) -> None:
    TARGETS[name.split("/")[0]]((CORPUS / name).read_bytes())


def test_every_target_has_a_few_small_seeds() -> None:
    for target in TARGETS:
        sizes = [path.stat().st_size for path in (CORPUS / target).iterdir()]
        assert 2 <= len(sizes) <= 20
        assert max(sizes) < 4096


def test_without_atheris_the_fuzzer_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ImportError")  # as if it were not there
    script = Path(__file__).parent / "fuzz.py"
    done = subprocess.run(
        [sys.executable, str(script), "--target", "jsonl"], capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "fuzzing needs the package 'atheris': run `pip install atheris`."
    )
