"""The device's side of a bench: `python -m dsa_edge.runtime.bench BUNDLE --pass time` → JSON."""

from __future__ import annotations

import json
import sys

from dsa_edge.errors import DsaEdgeError, UsageError
from dsa_edge.runtime.bench._measure import measured
from dsa_edge.runtime.bench._settings import parse


def main() -> int:
    """Measure, and print one JSON object."""
    try:
        print(json.dumps(measured(*parse(sys.argv[1:]))))
    except DsaEdgeError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
