"""The exceptions of dsa-edge: every message states what was expected, what came, and what to do.

```
DsaEdgeError
├── UsageError              a wrong call or option                       (CLI exit code 2)
├── MissingDependencyError  an optional package is not installed
├── CheckpointError         base model unreadable or unsupported
├── ExportError             a stage of the export failed; nothing was written
│   └── VerifyError         a written bundle does not do what it should
├── BundleError             bundle missing, damaged, or of another version
├── AdapterError            adapter unreadable, or made for another bundle
├── ExampleError            examples malformed, empty, or unusable
├── EngineError             the inference engine refused or failed
├── BudgetError             the work cannot fit the memory, time or disk allowed
├── PrivacyError            a privacy guarantee cannot be kept
├── TargetError             a device to be measured cannot be reached, or failed
├── FederationError         a message of a federated round asks or says what cannot be
└── StoreError              the user's store cannot be read or written
    ├── DamagedError        what it held is no longer what was written
    ├── WrongKeyError       it is sealed with another key
    └── TamperError         something without its key changed it
```
"""

from __future__ import annotations

__all__ = [
    "AdapterError",
    "BudgetError",
    "BundleError",
    "CheckpointError",
    "DamagedError",
    "DsaEdgeError",
    "EngineError",
    "ExampleError",
    "ExportError",
    "FederationError",
    "MissingDependencyError",
    "PrivacyError",
    "StoreError",
    "TamperError",
    "TargetError",
    "UsageError",
    "VerifyError",
    "WrongKeyError",
]


class DsaEdgeError(Exception):
    """Base of every error that dsa-edge raises on purpose."""


class UsageError(DsaEdgeError):
    """A call or an option that cannot be meant this way."""


class MissingDependencyError(DsaEdgeError):
    """An optional package is needed for this and is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: "
            f"run `pip install 'dsa-edge[{extra}]'`."
        )


class CheckpointError(DsaEdgeError):
    """The base model cannot be read, or its architecture is not supported."""


class ExportError(DsaEdgeError):
    """A stage of the export failed; no bundle was left behind."""


class VerifyError(ExportError):
    """A bundle does not reproduce the model that it was exported from."""


class BundleError(DsaEdgeError):
    """A bundle is missing, damaged, or written by another version."""


class AdapterError(DsaEdgeError):
    """An adapter cannot be read, or belongs to another bundle."""


class ExampleError(DsaEdgeError):
    """The examples are malformed, empty, or cannot be learned from."""


class EngineError(DsaEdgeError):
    """The inference engine refused a model or failed in a run."""


class BudgetError(DsaEdgeError):
    """The work cannot fit the memory, time or disk that was allowed."""


class PrivacyError(DsaEdgeError):
    """The privacy guarantee that was asked for cannot be kept."""


class TargetError(DsaEdgeError):
    """A device to be measured cannot be reached, has no room, or did not finish its work."""


class FederationError(DsaEdgeError):
    """A message of a federated round asks for what a client does not do, or says what cannot be."""


class StoreError(DsaEdgeError):
    """The user's store cannot be read or written."""


class DamagedError(StoreError):
    """What the store held is no longer what was written: bits have changed, or rows are gone."""


class WrongKeyError(StoreError):
    """The store is sealed, and this is not its key, or its key is missing."""


class TamperError(StoreError):
    """Something that does not have the store's key has changed what it holds."""
