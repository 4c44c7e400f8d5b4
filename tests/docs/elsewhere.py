"""What the pages say that no test here runs as it stands, and why. This is the whole list.

A test fails for an entry that no page needs, and for a command that is neither run nor named here.
"""

from __future__ import annotations

__all__ = ["KERNELS", "LANGUAGES", "NOT_HERE", "QUICKER", "REFUSED"]

# Beginning of a command → where it is run instead, or what it would need.
NOT_HERE = {
    "pip install": "changes the installation; that its extras exist is tested",
    "make": "builds, or runs all tests; that the target exists is tested",
    "dsa-edge doctor --build": "compiles for minutes: `make test` begins with it",
    "dsa-edge bench smol.dsa --target": "a board; tests/runtime/test_bench.py has stand-ins",
    "git clone": "a board; tests/aarch64/test_jetson_install.py runs the script",
    "sh dsa-edge/scripts/jetson_install.sh": "a board, as above",
    "~/dsa-edge/bin/dsa-edge": "a board, as above",
    "android_demo/scripts/try_on_device.sh": "a phone",
    "gradle": "Android's NDK and Gradle",
    "python benchmarks": "minutes to hours; tests/benchmarks runs parts; that it exists is tested",
    "OMP_NUM_THREADS=1 python benchmarks": "as above",
    "build/native/dsa_runner": "`make native`; tests/native runs these verbs",
}

# Languages of blocks that are no commands and no Python.
LANGUAGES = {
    "json": "examples; read by a test",
    "kotlin": "compiled by `make apk`, with a Kotlin compiler",
    "text": "what is said; messages are raised by tests/docs/test_troubleshooting.py",
}

# Verb → options that make it quick; all other options stay as the page has them.
QUICKER = {
    "bench": ["--repeats", "2", "--warmup", "0"],
    "meta-train": ["--rounds", "1", "--adapt-steps", "8", "--snapshots", "8"],
    "personalize": ["--steps", "2"],
    "tune": ["--steps", "2", "--trials", "2"],
}

# Word of a command → the library of kernels without which ExecuTorch lacks our operators.
KERNELS = {"both.dsa": "dsa_executorch"}

# Commands that are to be refused: the page shows the refusal.
REFUSED = ["dsa-edge merge"]
