"""Many users over one loaded base.

from dsa_edge.runtime import SharedBase
with SharedBase.open("smol.dsa") as base:
    alice, bob = base.user("store/alice"), base.user("store/bob")
    base.choose([(alice, "It was"), (bob, "It was")], [" great", " terrible"])
"""

from dsa_edge.runtime.shared._base import SharedBase

__all__ = ["SharedBase"]
