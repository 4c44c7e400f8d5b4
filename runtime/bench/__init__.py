"""How fast a bundle runs on a device: this machine, a board behind ssh, a phone behind adb.

The device's side (`python -m dsa_edge.runtime.bench`, or `dsa_runner bench`) prints raw seconds;
this side copies what is needed, reads the sensors and sums up.
"""

from dsa_edge.runtime.bench._compare import compare, compare_csv, compare_markdown
from dsa_edge.runtime.bench._results import read_results, schema, to_json
from dsa_edge.runtime.bench._session import Session, bench
from dsa_edge.runtime.bench._settings import Settings
from dsa_edge.runtime.bench._tables import csv_text, markdown
from dsa_edge.runtime.bench._target import Target, target_of

__all__ = [
    "Session",
    "Settings",
    "Target",
    "bench",
    "compare",
    "compare_csv",
    "compare_markdown",
    "csv_text",
    "markdown",
    "read_results",
    "schema",
    "target_of",
    "to_json",
]
