"""What a fit takes when it is asked for nothing: the bundle's own settings, else what suits."""

from __future__ import annotations

from dataclasses import replace

from dsa_edge.adapter import write_atomic
from dsa_edge.bundle import Bundle
from dsa_edge.defaults import Defaults, sort_of
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._data_gate import DataGate
from dsa_edge.runtime._hyperparameters import Hyperparameters

__all__ = ["of_curve", "proposed", "save_defaults", "settled", "usual_steps"]

PRIVATE_QUERIES = 16  # what the figures of docs/reliability.md were measured with


def proposed(manifest: Manifest, choices: bool) -> Defaults:
    """What a bundle proposes for examples with choices, or for free responses."""
    return manifest.defaults.get(sort_of(choices), Defaults())


def settled(
    manifest: Manifest, choices: bool, given: Hyperparameters | None, private: bool = False
) -> Hyperparameters:
    """The hyper-parameters of a fit: those given, or the suited ones with the bundle's own.

    private: the fit must keep a guarantee, for which the bundle's settings were not searched.
    """
    if given:
        return given
    suited = Hyperparameters.suited(choices)
    if private:
        return replace(suited, queries=PRIVATE_QUERIES)
    return replace(suited, **proposed(manifest, choices).settings)


def usual_steps(
    manifest: Manifest, choices: bool, given: Hyperparameters | None, private: bool = False
) -> int:
    """Steps of a fit without a number of its own; the bundle's belong to its own settings."""
    own = None if given or private else proposed(manifest, choices).steps
    return own or settled(manifest, choices, given, private).usual_steps


def of_curve(manifest: Manifest, choices: bool, examples: int) -> tuple[str, ...]:
    """What the bundle's learning curve says of so many examples, if it has one."""
    curve = proposed(manifest, choices).curve
    if not curve:
        return ()
    return (f"by the bundle's learning curve, {DataGate(curve).advice(examples)}",)


def save_defaults(bundle: Bundle, choices: bool, defaults: Defaults) -> Bundle:
    """Write defaults into a bundle's manifest, whole or not at all; the bundle as it then is."""
    manifest = bundle.manifest
    changed = replace(manifest, defaults={**manifest.defaults, sort_of(choices): defaults})
    write_atomic(bundle.path / "manifest.json", changed.to_json().encode())
    return Bundle(bundle.path, changed)
