"""Java over the real native runner in an ARM JVM, beside Python on the host.

`core/` of android_demo, its border built for aarch64, and `libdsa_runner.so` on the aarch64 wheel's
ExecuTorch: all that an app runs but Android itself. Losses may differ as in `test_arm_runner.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from machines import ROOT, Machine, call, cross_built, executorch

from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Personalizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(library_path("dsa_executorch") is None, reason="no ops: no compiler"),
]
CORE = ROOT / "android_demo" / "core"
CHOICES = (" great", " terrible")
STEPS = 4
APART = 2e-2  # of probabilities, for numbers that fall to the other side of an int8 level


@pytest.fixture(scope="module")
def java(fetched: Path, native: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs `Drive` in an ARM JVM."""
    compiler = shutil.which("javac")
    if compiler is None:
        pytest.skip("no javac: apt-get install openjdk-17-jdk-headless")
    include = Path(os.path.realpath(compiler)).parents[1] / "include"
    machine = fetched / "root" / "usr" / "lib" / "jvm" / "java-17-openjdk-arm64"
    border = cross_built(
        "android_demo/core", "jni", f"-DDSA_RUNNER={native / 'libdsa_runner.so'}",
        f"-DJAVA_INCLUDE_PATH={include}", f"-DJAVA_INCLUDE_PATH2={include / 'linux'}",
        f"-DJAVA_JVM_LIBRARY={machine / 'lib' / 'server' / 'libjvm.so'}",
    )  # fmt: skip
    classes = tmp_path_factory.mktemp("classes")
    sources = [*CORE.glob("src/main/java/**/*.java"), *CORE.glob("src/test/java/**/Drive.java")]
    call(compiler, "--release", "8", "-Xlint:-options", "-d", classes, *sources)
    # -Xint: compiling takes longer than it saves here.
    return Machine("cortex-a76", (executorch() / "lib", native)).command(
        machine / "bin" / "java", "-Xint", "-XX:-UsePerfData", f"-Djava.library.path={border}",
        "-cp", classes, "dev.dsaedge.Drive",
    )  # fmt: skip


def test_an_app_learns_on_arm_as_python_does_on_the_host(
    java: list[str], both: Path, tmp_path: Path
) -> None:
    def drive(*words: object) -> list[str]:
        return call(*java, both, tmp_path / "me", *words).splitlines()

    file = tmp_path / "films.jsonl"
    lines = [
        {"prompt": f"film {i} was", "response": CHOICES[i % 2], "choices": CHOICES}
        for i in range(16)
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    *steps, end = drive("fit", STEPS, file)
    assert [line.split()[1] for line in steps] == [str(n) for n in range(1, STEPS + 1)]
    text, *probabilities = drive("choose", "the film was", *CHOICES)
    written = "\n".join(drive("generate", "the film", 4))
    with Personalizer.open(both, tmp_path / "me", backend="executorch", threads=1) as me:
        (fit,) = me.fits()
        assert fit.verdict == end.split(", ")[0]
        assert len(me.journal()) == STEPS
        choice = me.choose("the film was", CHOICES)
        assert text == choice.text
        assert [float(p) for p in probabilities] == pytest.approx(choice.probabilities, abs=APART)
        assert written == me.generate("the film", 4).rstrip("\n")
        (replayed,) = me.replay([STEPS])
        assert replayed.vector.any()
        if fit.version:
            (replayed,) = me.replay([fit.kept or 0])
            np.testing.assert_array_equal(replayed.vector, me.adapter.vector)  # to the bit
