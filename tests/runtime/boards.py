"""A board and a phone that are folders here: programs named ssh and adb that run scripts in them.

board = Board(tmp_path); board.install(monkeypatch)      # both are on PATH then
board.fault = "unreachable"                              # or another of `FAULTS`
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dsa_edge.runtime.bench import Session, Settings, bench, schema

# What a script says of the system's own places is about the board's; faults come on the way.
RUN = r"""
fault=$(cat "$BOARD/fault")
here() {
  printf '%s' "$1" | sed "s#/sys/#$BOARD/sys/#g; s#/data/local/tmp#$BOARD/tmp#g" \
    | sed "s#/proc/device-tree#$BOARD/tree#g; s#/etc/nv_tegra_release#$BOARD/release#g"
}
run() {
  [ "$fault" = banner ] && echo "Welcome. {Not} JSON."
  case "$fault/$1" in
    killed/*--pass*) exec sh -c 'kill -9 $$' ;;
    garbage/*--pass*) echo '{"format": "another"}'; echo '{"format": ['; exit 0 ;;
    missing/*--pass*) echo "python3: No module named dsa_edge" >&2; exit 1 ;;
    slow/*--pass*) exec sleep 30 ;;
    full/*"-xf -"*) cat > /dev/null; echo "tar: x: Wrote 0: No space left on device" >&2; exit 2 ;;
  esac
  cd "$BOARD/home" && PATH="$BOARD/bin:$PATH" sh -c "$(here "$1")"
}
damage() { [ "$fault" = damaged ] && find "$BOARD" -name tokenizer.json -exec truncate -s 9 {} +; }
"""
SSH = r"""#!/bin/sh
set -f
while [ "$1" != -- ]; do shift; done
[ "$(cat "$BOARD/fault")" = unreachable ] && {
  echo "ssh: connect to host board port 22: No route to host" >&2; exit 255; }
RUN
case "$3" in *"-xf -"*) echo push >> "$BOARD/pushes" ;; esac
run "$3"; code=$?
damage
exit $code
"""
ADB = r"""#!/bin/sh
[ "$(cat "$BOARD/fault")" = unreachable ] && { echo "adb: no devices/emulators found" >&2; exit 1; }
[ "$1" = -s ] && shift 2
RUN
[ "$1" = shell ] && { run "$2"; exit $?; }
shift
echo push >> "$BOARD/pushes"
[ "$fault" = full ] && {
  echo "adb: error: failed to copy: remote write failed: No space left on device" >&2; exit 1; }
for to; do :; done
while [ $# -gt 1 ]; do cp "$1" "$(here "$to")/"; shift; done
damage
exit 0
"""
QUICK = Settings(prompt_tokens=16, new_tokens=3, lanes=4, batch=2, warmup=1, repeats=2, threads=1)
FAULTS = ("unreachable", "full", "killed", "garbage", "missing", "slow", "damaged")
SECONDS = {
    "load": [1.0, 1.0], "prompt": [0.5, 0.5], "generate": [2.0, 2.0], "probe": [0.25, 0.25],
    "switch": [0.001, 0.001],
}  # fmt: skip


class Board:
    """A folder that stands for a Jetson, or for a phone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "board"
        for name in ("bin", "home", "tmp", "tree", "sys"):
            (self.folder / name).mkdir(parents=True)
        self.fault = "none"
        self.set("tree/model", "NVIDIA Jetson Orin Nano\0")
        self.set("release", "# R36 (release), REVISION: 4.0")
        self.program("bin/nvpmodel", "#!/bin/sh\necho 'NV Power Mode: 15W'\necho 1\n")
        self.sensors()

    @property
    def fault(self) -> str:
        """What goes wrong."""
        return (self.folder / "fault").read_text()

    @fault.setter
    def fault(self, kind: str) -> None:
        self.set("fault", kind)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have ssh and adb reach it, and nothing else."""
        for name, text in (("ssh", SSH), ("adb", ADB)):
            self.program(f"path/{name}", text.replace("RUN\n", RUN))
        monkeypatch.setenv("BOARD", str(self.folder))
        monkeypatch.setenv("PATH", f"{self.folder / 'path'}:{os.environ['PATH']}")

    def sensors(self, celsius: float = 40, mhz: int = 1500) -> None:
        """Zones, clocks and rails, as a Jetson has them."""
        self.set("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self.set("sys/class/thermal/thermal_zone0/temp", str(int(1000 * celsius)))
        self.set("sys/class/thermal/thermal_zone1/type", "PMIC-Die")
        self.set("sys/class/thermal/thermal_zone1/temp", "100000")
        clock = "sys/devices/system/cpu/cpu0/cpufreq"
        self.set(f"{clock}/scaling_cur_freq", str(1000 * mhz))
        self.set(f"{clock}/scaling_max_freq", "1510400")
        self.set(f"{clock}/scaling_governor", "schedutil")
        for name, value in (("name", "ina3221"), ("in1_label", "VDD_IN"), ("in1_input", "5000"),
                            ("curr1_input", "1200")):  # fmt: skip
            self.set(f"sys/class/hwmon/hwmon3/{name}", value)

    def set(self, name: str, text: str) -> None:
        """Write a file of the board."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def program(self, name: str, text: str) -> Path:
        """Write a program of the board."""
        self.set(name, text)
        path = self.folder / name
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    @property
    def pushes(self) -> int:
        """How often files were copied to it."""
        path = self.folder / "pushes"
        return len(path.read_text().splitlines()) if path.exists() else 0


def runner(folder: Path, seconds: Any = SECONDS, works: float = 0) -> Path:
    """A folder with a `dsa_runner` that measures nothing, and tells what it was given.

    works: seconds that it takes.
    """
    folder.mkdir()
    told = {
        "format": "dsa-edge bench 1", "engine": {"backend": "executorch", "kernels": "neon"},
        "bundle": {"identity": "0", "layers": 3, "adapter_size": 8}, "settings": {"threads": 4},
        "tokens": {"prompt": 64, "generate": 31}, "seconds": seconds, "peak_mb": 99.5,
    }  # fmt: skip
    program = folder / "dsa_runner"
    lines = "#!/bin/sh", '[ -f "$2/manifest.json" ] || exit 3', f"sleep {works}"
    program.write_text("\n".join([*lines, f"echo '{json.dumps(told)}'", ""]))
    program.chmod(0o755)
    (folder / "libexecutorch.so").write_bytes(b"a library")
    return folder


def session(tmp_path: Path, **changes: Any) -> Session:
    folder = tmp_path / "runner"
    return Session(folder if folder.exists() else runner(folder), **changes)


def one(*given: Any, **more: Any) -> dict[str, Any]:
    """The report of a bench with the quick settings alone."""
    path, target, *rest = given
    (report,) = bench(path, target, [QUICK], *rest, **more)
    return report


def check(report: Any, part: str | None = None) -> None:
    """Hold JSON against the schema, or against one of its parts."""
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is missing")
    wanted = schema()
    if part is not None:
        wanted = {"$ref": f"#/$defs/{part}", "$defs": wanted["$defs"]}
    jsonschema.Draft202012Validator.check_schema(wanted)
    jsonschema.validate(report, wanted, cls=jsonschema.Draft202012Validator)
