"""What a user types stays here: no socket is opened, no engine reports, no training library loads.

Each test runs a process of its own, since an engine decides once for all what it sends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

GUARD = """
import json, os, sys
tried = []

def refuse(event, arguments):
    if event.startswith("socket."):
        tried.append(event)  # some libraries would hide the error
        raise OSError(f"{event} is not allowed here")

sys.addaudithook(refuse)
"""
LEARN = """
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer

examples = [Example(f"note {i} is", " a" if i % 2 else " b", (" a", " b")) for i in range(12)]
with Personalizer.open(sys.argv[1], store=sys.argv[2], backend="onnx") as me:
    report = me.fit(examples, Budget(steps=3), hyperparameters=Hyperparameters(queries=2, batch=4))
    me.choose("note 3 is", (" a", " b"))
    free = me.fit([Example("Dear", " team")] * 9, Budget(steps=2))
    me.generate("note", max_tokens=3)
    steps = [report.steps, free.steps]
    replayed = len(me.replay([2]))
"""
TELL = """
folder = "/proc/self/fd"
links = []
for number in os.listdir(folder) if os.path.isdir(folder) else ():
    try:
        links.append(os.readlink(f"{folder}/{number}"))
    except OSError:  # the one of the listing itself
        pass
print(json.dumps({
    "steps": steps, "replayed": replayed, "tried": tried,
    "sockets": [link for link in links if link.startswith("socket:")],
    "loaded": sorted({"torch", "transformers", "onnx"} & set(sys.modules)),
}))
"""
# ONNX Runtime is silent in tests of others, so these would hide what it does on a device.
SILENT = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "GITHUB_ACTIONS", "TF_BUILD")


def run(code: str, home: Path, *arguments: object, before: tuple[str, ...] = ()) -> str:
    """What a new process prints; its home is an empty folder."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SILENT}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "TMPDIR": str(home)}
    done = subprocess.run(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        env={**kept, **places}, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def learned(bundle: Path, folder: Path, before: tuple[str, ...] = ()) -> dict[str, Any]:
    told = run(GUARD + LEARN + TELL, folder / "home", bundle, folder / "me", before=before)
    return dict(json.loads(told.splitlines()[-1]))


@pytest.fixture(scope="module")
def alone(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What a process that may open no socket told, and the home that it ran in."""
    folder = tmp_path_factory.mktemp("alone")
    return learned(bundle, folder), folder / "home"


def test_learning_and_answering_open_no_socket(alone: tuple[dict[str, Any], Path]) -> None:
    told, _ = alone
    assert told["steps"] == [3, 2]
    assert told["replayed"] == 1
    assert told["tried"] == []
    assert told["sockets"] == []  # nor one that only native code knows of


def test_a_device_loads_no_training_library(alone: tuple[dict[str, Any], Path]) -> None:
    assert alone[0]["loaded"] == []


def test_the_engine_keeps_no_identifier_and_no_events(alone: tuple[dict[str, Any], Path]) -> None:
    """With telemetry on, ONNX Runtime 1.29 and later writes a device id and a queue at home."""
    assert list(alone[1].rglob("*")) == []


def test_everything_works_without_a_network(bundle: Path, tmp_path: Path) -> None:
    before = ("unshare", "--map-root-user", "--net")
    try:
        allowed = subprocess.run([*before, "true"], capture_output=True).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("this system does not let us leave its network")
    assert learned(bundle, tmp_path, before)["steps"] == [3, 2]


def test_the_exporter_keeps_no_identifier_and_no_events(tmp_path: Path) -> None:
    run("import dsa_edge.exporters.onnx._session", tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").rglob("deviceid")] == []


def test_telemetry_is_turned_off_before_the_engine_starts(tmp_path: Path) -> None:
    """The call alone comes too late for a first event; the variable must be there on import."""
    (tmp_path / "onnxruntime.py").write_text(
        "import os\n"
        "at_import, calls = os.environ.get('ORT_DISABLE_TELEMETRY'), []\n"
        "def disable_telemetry_events(): calls.append(1)\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from dsa_edge.runtime._onnx_engine import _import\n"
        "found = _import(); print(found.at_import, len(found.calls))"
    )
    assert run(code, tmp_path / "home", tmp_path).split() == ["1", "1"]
