"""What happens off the device before an export: early pruning (Light-PEFT, 2406.03792)."""

from dsa_edge.exporters.training._cut import Cut, PrunedSource
from dsa_edge.exporters.training._prune import Thinned, measure, prune
from dsa_edge.exporters.training._pruning import CRITERIA, Pruning
from dsa_edge.exporters.training._units import Importance, Units

__all__ = [
    "CRITERIA",
    "Cut",
    "Importance",
    "PrunedSource",
    "Pruning",
    "Thinned",
    "Units",
    "measure",
    "prune",
]
