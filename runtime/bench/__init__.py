"""How fast a bundle runs on a device: this machine, a board behind ssh, a phone behind adb.

The device's side (`python -m dsa_edge.runtime.bench`, or `dsa_runner bench`) prints raw seconds;
this side copies what is needed, reads the sensors and sums up.
"""

from dsa_edge.runtime.bench._session import Session, bench
from dsa_edge.runtime.bench._settings import Settings
from dsa_edge.runtime.bench._summary import markdown
from dsa_edge.runtime.bench._target import Target, target_of

__all__ = ["Session", "Settings", "Target", "bench", "markdown", "target_of"]
