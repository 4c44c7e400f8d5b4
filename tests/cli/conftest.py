"""Fixtures of the tests of the command line."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `from stores import …`

from stores import Run, Told

from dsa_edge.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("verb", ...)` → exit code, stdout, stderr; nothing is asked, and nothing is sent."""

    def refused(*_: object) -> None:
        raise AssertionError("a verb opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr("getpass.getpass", refused)
    for name in ("DSA_EDGE_PASSPHRASE", "DSA_EDGE_NEW_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)

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
def told(run: Run, bundle: Path, store: Path) -> Told:
    """`told("verb", ...)`: what --json says of the store."""

    def call(verb: str, *argv: object) -> dict[str, Any]:
        code, out, err = run(verb, bundle, "--store", store, *argv, "--json")
        assert code == 0, err
        return dict(json.loads(out))

    return call


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "me"
