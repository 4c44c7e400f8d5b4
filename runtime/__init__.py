"""The device side: engines, zeroth-order steps, the personalizer, the user's store.

from dsa_edge.runtime import Budget, Example, Personalizer
me = Personalizer.open("smol.dsa", store="me/")
report = me.fit(examples, budget=Budget(seconds=120))
"""

from dsa_edge.adapter import Adapter
from dsa_edge.examples import Example, Labels, read_examples
from dsa_edge.runtime._conditions import Conditions, Device, DeviceState, LinuxDevice
from dsa_edge.runtime._data_gate import DataGate, Gain
from dsa_edge.runtime._engine import Engine
from dsa_edge.runtime._generate import Sampling
from dsa_edge.runtime._keys import FileKey, KeyProvider, KeyringKey, PassphraseKey
from dsa_edge.runtime._optimizer import Hyperparameters
from dsa_edge.runtime._personalizer import Choice, Personalizer
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime._planner import Plan
from dsa_edge.runtime._privacy import Privacy, Spent
from dsa_edge.runtime._records import Run, Version
from dsa_edge.runtime._report import Evaluation, Progress, Report
from dsa_edge.runtime._versions import Forgotten
from dsa_edge.runtime.shared import SharedBase

__all__ = [
    "Adapter",
    "Budget",
    "Choice",
    "Conditions",
    "DataGate",
    "Device",
    "DeviceState",
    "Engine",
    "Evaluation",
    "Example",
    "FileKey",
    "Forgotten",
    "Gain",
    "Hyperparameters",
    "KeyProvider",
    "KeyringKey",
    "Labels",
    "LinuxDevice",
    "PassphraseKey",
    "Personalizer",
    "Plan",
    "Privacy",
    "Progress",
    "Report",
    "Run",
    "Sampling",
    "SharedBase",
    "Spent",
    "Version",
    "read_examples",
]
