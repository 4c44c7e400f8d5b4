"""What the population benchmark makes of its fits: shares of the first-order gain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from _population import FIRST_ORDER
from _population_report import summary, text


def keep(folder: Path, account: str, row: str, nats: list[float], **more: object) -> None:
    told = {"account": account, "examples": 16, "row": row, "nats": nats, "seconds": 1.0, **more}
    told["steps"] = [10 * at for at in range(len(nats))]
    (folder / f"{account}-16-{len(list(folder.iterdir()))}.json").write_text(json.dumps(told))


def test_shares_are_of_each_account_s_own_gain(tmp_path: Path) -> None:
    for account, zero in (("a", 5.0), ("b", 6.0)):
        keep(tmp_path, account, FIRST_ORDER, [zero, zero - 1.0, zero - 0.9])
        keep(tmp_path, account, "zero start", [zero])
    keep(tmp_path, "a", "learned start, axes along directions", [4.6, 4.19, 4.1], file_bytes=700)
    keep(tmp_path, "b", "learned start, axes along directions", [5.5, 5.4, 5.3], file_bytes=710)
    made = summary([tmp_path])
    rows = {row["row"]: row for row in made["rows"]}
    assert rows[FIRST_ORDER]["share"] == pytest.approx(0.9)  # it was better before its end
    assert rows["zero start"]["share"] == pytest.approx(0)
    axes = rows["learned start, axes along directions"]
    assert axes["share"] == pytest.approx((0.9 + 0.7) / 2)
    assert (axes["reached"], axes["steps_to_target"], axes["file_bytes"]) == (1, [10], 710)
    assert "| 80% | 1 of 2, steps [10] |" in text(made)
