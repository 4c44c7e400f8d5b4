"""Coverage-guided fuzzing of what reads foreign files; outside CI, which replays the corpus alone.

    pip install atheris
    python tests/hostile/fuzz.py --target manifest --seconds 600

Ends with exit code 0 after the time, or at the first input that raises anything but a DsaEdgeError;
that input is then kept in the folder of --keep, with the others that reached new code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    raise SystemExit("fuzzing needs the package 'atheris': run `pip install atheris`.") from None

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["dsa_edge", "fuzz_targets"]):
    from fuzz_targets import CORPUS, TARGETS

MAX_INPUT = 4096  # bytes
SLOW = 30  # seconds that one input may take
MEMORY_MB = 3000


def main() -> None:
    """Fuzz one target."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--target", required=True, choices=sorted(TARGETS))
    made.add_argument("--seconds", type=int, default=600)
    made.add_argument("--seed", type=int, default=1, help="of the mutations, not 0 (default: 1)")
    made.add_argument("--keep", metavar="DIR", help="where found inputs go (default: a new folder)")
    arguments = made.parse_args()
    keep = Path(arguments.keep or tempfile.mkdtemp(prefix=f"fuzz-{arguments.target}-"))
    keep.mkdir(parents=True, exist_ok=True)
    print(f"inputs that are found go to {keep}", file=sys.stderr)
    options = [
        f"-max_total_time={arguments.seconds}", f"-max_len={MAX_INPUT}", f"-seed={arguments.seed}",
        f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={keep}/",
        "-print_final_stats=1", str(keep), str(CORPUS / arguments.target),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], TARGETS[arguments.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
