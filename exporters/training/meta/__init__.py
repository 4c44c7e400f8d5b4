"""Meta-learned starts: what a population of users teaches before a bundle is shipped."""

from dsa_edge.exporters.training.meta._settings import METHODS, MetaSettings
from dsa_edge.exporters.training.meta._train import MetaReport, meta_train
from dsa_edge.exporters.training.meta._users import Population, gathered, read_users

__all__ = [
    "METHODS",
    "MetaReport",
    "MetaSettings",
    "Population",
    "gathered",
    "meta_train",
    "read_users",
]
