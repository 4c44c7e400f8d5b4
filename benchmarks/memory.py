"""Peak memory of `fit` against `generate` on the same bundle, each in a process of its own.

python benchmarks/memory.py --json
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from _common import parser

from dsa_edge.cli._demo import demo_bundle

FIT = """
import sys
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.runtime import Budget, Personalizer
rows, _ = review_sentences(int(sys.argv[2]), 1)
me = Personalizer.open(sys.argv[1])
labels, rest = me.pick_shots(LABELS, rows, tries=1)
print(me.fit([labels.example(*row) for row in rest], Budget(steps=5)).peak_mb)
"""
GENERATE = """
import sys
from dsa_edge.runtime import Personalizer
from dsa_edge.runtime._memory import peak_mb
Personalizer.open(sys.argv[1]).generate("The capital of France is", max_tokens=100)
print(peak_mb())
"""


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--train", type=int, default=512, help="sentences to learn from")
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    fit = peak(FIT, bundle, arguments.train)
    generate = peak(GENERATE, bundle, 0)
    result = {"fit_mb": fit, "generate_mb": generate, "ratio": fit / generate}
    print(json.dumps(result) if arguments.json else result)


def peak(code: str, bundle: Path, train: int) -> float:
    command = [sys.executable, "-c", code, str(bundle), str(train)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
