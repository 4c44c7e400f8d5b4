"""The command line and a user's store: history, ways back, damage, and what is written where."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from stores import FIRST, LABELLED, Run, Told, as_row, damage, fill, places, write

from dsa_edge.examples import Example


def test_history_lists_versions_and_fits(told: Told, run: Run, bundle: Path, store: Path) -> None:
    ids = fill(bundle, store)
    history = told("history")
    assert (history["active"], history["damaged"], history["sealed"]) == (2, [], False)
    assert [(v["id"], v["parent"], v["active"]) for v in history["versions"]] == [
        (1, 0, False), (2, 1, True)
    ]  # fmt: skip
    keys = ("id", "parent", "verdict", "version", "kept", "examples")
    assert [tuple(fit[key] for key in keys) for fit in history["fits"]] == [
        (1, 0, "improved", 1, 1, 1), (2, 1, "improved", 2, 1, 1),
        (3, 2, "interrupted", None, None, 2),
    ]  # fmt: skip
    assert all(fit["created"] > 1e9 for fit in history["fits"])
    (second,) = told("history", "--fit", 2, "--examples")["fits"]
    assert second["example_ids"] == [ids[1]]
    text = run("history", bundle, "--store", store, "--examples")[1]
    assert "interrupted, 2 examples, after 2" in text
    assert "improved → version 2, 1 steps kept, 1 examples, after 1" in text
    assert text.count(ids[0]) == 2
    code, _, err = run("history", bundle, "--store", store, "--fit", 9)
    assert code == 1
    assert "no fit 9 in this store (there are 1, 2, 3)" in err


def test_the_verbs_of_a_store_load_no_engine(bundle: Path, store: Path) -> None:
    fill(bundle, store)
    code = (
        "import sys; from dsa_edge.cli import main; "
        f"assert main(['history', {str(bundle)!r}, '--store', {str(store)!r}]) == 0; "
        "assert not {'onnxruntime', 'torch', 'tokenizers', 'executorch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_forgetting_an_example_goes_back_to_before_it(
    told: Told, run: Run, bundle: Path, store: Path
) -> None:
    ids = fill(bundle, store)
    forgotten = told("forget", "--examples", f"{ids[1]},{'0' * 16}")
    assert forgotten == {"versions": [2], "active": 1, "known": 1, "unknown": 1}
    history = told("history")
    assert history["active"] == 1
    assert [fit["id"] for fit in history["fits"]] == [1]
    code, out, _ = run("forget", bundle, "--store", store, "--examples", "0" * 16)
    assert code == 0
    assert "0 examples are forgotten; version 1 is in use" in out
    assert "1 examples are not known here" in out
    assert told("forget") == {"versions": [1], "active": 0, "known": None, "unknown": None}


def test_forgetting_takes_examples_from_a_file(
    told: Told, run: Run, bundle: Path, store: Path, tmp_path: Path
) -> None:
    fill(bundle, store)
    data = write(tmp_path / "gone.jsonl", as_row(FIRST), as_row(Example("never", " seen")))
    code, out, _ = run("forget", bundle, "--store", store, "--data", data)
    assert code == 0
    assert "the bundle's initial adapter is in use" in out
    assert "deleted versions: 1, 2" in out
    assert "`dsa-edge personalize` learns again" in out
    assert told("history")["fits"] == []


def test_labelled_texts_are_forgotten_as_they_were_learned(told: Told, tmp_path: Path) -> None:
    rows = [{"text": f"film {i}", "label": i % 2} for i in range(8)]
    data = write(tmp_path / "reviews.jsonl", *rows)
    fitted = told("personalize", "--data", data, *LABELLED, "--steps", 2, "--remember")
    assert fitted["damaged"] == []
    other = ["--template", "{text} So", "--labels", "terrible,great"]
    assert told("forget", "--data", data, *other)["unknown"] == 8
    assert told("history")["fits"][0]["examples"] == 8
    assert told("forget", "--data", data, *LABELLED)["known"] == 8
    assert told("history")["fits"] == []


def test_chats_are_forgotten_as_well(told: Told, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Sign off."}, {"role": "assistant", "content": "Best, M."}]
    data = write(tmp_path / "chats.jsonl", {"messages": turns}, {"messages": turns[::2] + turns})
    assert told("personalize", "--data", data, "--steps", 1)["examples"] == 2
    assert told("forget", "--data", data)["known"] == 2
    assert told("history")["fits"] == []


def test_a_damaged_version_is_told_and_an_older_one_is_used(
    told: Told, run: Run, bundle: Path, store: Path
) -> None:
    fill(bundle, store)
    damage(store, 2)
    for verb, *more in (["history"], ["generate", "--prompt", "x", "--max-tokens", 1]):
        code, _, err = run(verb, bundle, "--store", store, *more)
        assert code == 0
        assert err.count("\n") == 1
        assert "version 2 is damaged, and version 1 is used instead: restore" in err
        assert "`dsa-edge rollback --version 1`" in err
    assert "after 1, damaged" in run("history", bundle, "--store", store)[1]
    assert (told("history")["damaged"], told("history")["active"]) == ([2], 1)
    assert told("generate", "--prompt", "x", "--max-tokens", 1)["version"] == 1
    assert run("rollback", bundle, "--store", store, "--version", 2)[0] == 1
    assert told("rollback", "--version", 1)["active"] == 1
    assert run("history", bundle, "--store", store)[2] == ""


def test_rows_that_cannot_be_read_are_listed_as_damaged(
    told: Told, run: Run, bundle: Path, store: Path
) -> None:
    fill(bundle, store)
    database = sqlite3.connect(store / "user.db")
    with database:
        database.execute("UPDATE versions SET record = x'00' WHERE id = 2")
        database.execute("UPDATE runs SET record = x'00' WHERE id = 2")
        database.execute("UPDATE runs SET examples = x'00' WHERE id = 1")
        database.execute("UPDATE meta SET value = x'00' WHERE key = 'active'")
    database.close()
    history = told("history")
    assert (history["active"], history["damaged"], history["active_damaged"]) == (1, [2], True)
    assert [v["parent"] for v in history["versions"]] == [0, None]
    assert [fit["verdict"] for fit in history["fits"]] == ["damaged", "damaged", "interrupted"]
    code, out, err = run("history", bundle, "--store", store)
    assert code == 0
    assert err.count("\n") == 1
    assert "no longer knows which version was in use, and version 1, the newest" in err
    lines = [line.split() for line in out.splitlines()]
    assert lines.count(["2", "damaged"]) == 2  # a version and a fit
    assert told("rollback", "--version", 1)["active"] == 1
    assert run("history", bundle, "--store", store)[2] == ""
    assert told("forget", "--examples", "0" * 16)["versions"] == [1, 2]


def test_special_tokens_in_texts_are_forgotten_as_they_were_learned(
    told: Told, tmp_path: Path
) -> None:
    rows = [{"text": f"film {i} <|eos|>", "label": i % 2} for i in range(8)]
    data = write(tmp_path / "reviews.jsonl", *rows)
    assert told("personalize", "--data", data, *LABELLED, "--steps", 1)["examples"] == 8
    assert told("forget", "--data", data, *LABELLED)["known"] == 8


def test_doctor_lists_what_is_written(
    told: Told, run: Run, bundle: Path, store: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    fill(bundle, store)
    store.chmod(0o755)
    found = places(told("doctor", "--privacy"))
    user = found["the user's store"]
    assert user["path"].startswith(str(store / "user.db"))
    assert user["sealed"].startswith("no: `dsa-edge rekey")
    assert f"chmod 700 {store}" in user["sealed"]
    assert found["the bundle"]["path"] == str(bundle)
    written = {path.name for path in store.iterdir()}
    listed = " ".join(place["path"] for place in found.values())
    assert all(str(store / name) in listed for name in written)
    assert run("rekey", bundle, "--store", store, "--to", f"file:{tmp_path / 'key'}")[0] == 0
    sealed = places(told("doctor", "--privacy"))["the user's store"]["sealed"]
    assert sealed.startswith("yes, AES-256-GCM; in the clear: ")
    code, out, _ = run("doctor", "--privacy")
    assert code == 0
    assert "the folder of --store/user.db" in out
    assert "no verb opens a network connection" in out
    assert run("doctor", "--store", store)[0] == 2
    assert run("doctor", "--privacy", "--build")[0] == 2


def test_kept_programs_are_where_doctor_says(told: Told) -> None:
    pytest.importorskip("executorch")
    from dsa_edge.exporters.executorch import programs_folder

    found = places(told("doctor", "--privacy"))
    assert found["ExecuTorch programs"]["path"] == str(programs_folder())


def test_a_verb_keeps_engines_and_flower_from_sending_anything(bundle: Path) -> None:
    code = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None); "
        "os.environ['FLWR_TELEMETRY_ENABLED'] = '1'; "
        "from dsa_edge.cli import main; assert 'onnxruntime' not in sys.modules; "
        f"assert main(['inspect', {str(bundle)!r}]) == 0; "
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; "
        "assert os.environ['FLWR_TELEMETRY_ENABLED'] == '0'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
