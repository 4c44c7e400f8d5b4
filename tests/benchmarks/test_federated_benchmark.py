"""The federation benchmark on a tiny base: every row runs, and says what it should."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from crowd import UNSEEN, stub_base, user

pytest.importorskip("flwr", reason="needs Flower: pip install 'dsa-edge[federated]'")

import federated
from _people import Person


def test_every_row_is_measured_and_bytes_are_counted(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [Person(tuple(user(i)), tuple(user(UNSEEN + i))) for i in range(14)]
    monkeypatch.setattr(federated, "demo_bundle", lambda folder: bundle)
    monkeypatch.setattr(federated, "opened", lambda path, engine: stub_base(path))
    monkeypatch.setattr(federated, "reviewers", lambda count, *rest: people[:count])
    options = "--clients 12 --unseen 2 --rounds 4 --sample 6 --steps 8 --rate 0.003 --clip 20"
    more = "--fit-steps 2 --every 2 --json"
    monkeypatch.setattr(sys, "argv", ["federated.py", *options.split(), *more.split()])
    federated.main()
    rows = json.loads(capsys.readouterr().out)["seeds"][0]
    assert list(rows) == ["zero start", *federated.ROWS]
    zero = rows["zero start"]["unseen"]["before"]["nats"]
    for name in federated.ROWS:
        assert rows[name]["up"]["largest"] <= 1024
        assert [look["round"] for look in rows[name]["curve"]] == [0, 2, 4]
    assert rows["honest"]["up"]["messages"] == 24
    assert rows["faulty"]["up"]["messages"] < 24
    assert rows["honest"]["unseen"]["before"]["nats"] < 0.8 * zero
    assert rows["poisoned"]["unseen"]["before"]["nats"] < zero
