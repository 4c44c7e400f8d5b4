"""A program killed while it writes leaves what was there, or that and one whole operation more.

`benchmarks/crash.py` does the same 200 times and more.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash import TARGETS, kill

pytest.importorskip("cryptography", reason="the package cryptography is not installed")


def test_ten_kills_lose_nothing_that_was_done(tmp_path: Path) -> None:
    found = kill(tmp_path, 10, seed=7)
    assert found["violations"] == []
    assert sum(found["operation_under_way"].values()) == 10
    assert set(found["operation_under_way"]) <= {*TARGETS, "between operations"}
    assert found["steps_lost_at_most"] <= 1
    assert found["steps_replayed"] > 0
