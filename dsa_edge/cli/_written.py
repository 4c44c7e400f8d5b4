"""All that dsa-edge writes to disk: where, what, how long, sealed or not, and how to delete it.

`dsa-edge doctor --privacy` shows it. A new place that something is written to belongs in here.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dsa_edge.cli._keys import sealed, store_id
from dsa_edge.kernels.library import FOLDER
from dsa_edge.runtime.bench._target import Adb, Ssh

__all__ = ["NETWORK", "TELEMETRY", "Place", "places"]

NETWORK = (
    "no verb opens a network connection; `bench --target` starts your ssh or adb, which sends the "
    "bundle and nothing of a user"
)
TELEMETRY = (
    "ONNX Runtime's and Flower's are off before they are loaded (ORT_DISABLE_TELEMETRY=1, "
    "FLWR_TELEMETRY_ENABLED=0)"
)
NOTHING = "nothing of a user"
ASKED = "until you delete it; written only where you ask for it"


@dataclass(frozen=True)
class Place:
    """Something that is written; path: as this system resolves it, or how it is named."""

    what: str
    path: str
    holds: str
    stays: str
    sealed: str
    delete: str


def places(bundle: str | None, store: str | None) -> list[Place]:
    """Every place, the user's own first."""
    folder = Path(store).resolve() if store else None
    return [*_of_the_store(folder), *_of_keys(folder), *_where_asked(), *_of_the_machine(bundle)]


def _of_the_store(folder: Path | None) -> list[Place]:
    name = str(folder or "the folder of --store")
    database = Place(
        "the user's store",
        f"{name}/user.db, and while a program has it open user.db-wal and user.db-shm",
        "learned adapters with their label words and gates (directions of prompts' hidden states), "
        "every step's scalars, ids of the examples; the "
        "examples themselves only after `personalize --remember`",
        "until `forget`; the -wal and -shm files until the last program closes it, or after a "
        "crash until the next opens it",
        _state(folder),
        f"`dsa-edge forget BUNDLE --store {name}` overwrites it in place (flash memory may keep "
        "old blocks until it reuses them: seal a store from the start), or delete the folder",
    )
    return [database, _lock(name), _prompts(folder)]


def _state(folder: Path | None) -> str:
    """Whether a store is sealed, and what is in the clear all the same."""
    clear = (
        "in the clear: which bundle, how many versions, fits, steps and examples there are, and "
        "the ids of remembered examples, which say nothing without the key"
    )
    if folder is None:
        return f"where it was given a key, AES-256-GCM; {clear}"
    if sealed(folder):
        return f"yes, AES-256-GCM; {clear}"
    if not folder.is_dir():
        return "there is none yet: give --key when it is first used to seal it"
    shared = os.name == "posix" and folder.stat().st_mode & 0o077
    others = f"; others may enter the folder, `chmod 700 {folder}`" if shared else ""
    return f"no: `dsa-edge rekey BUNDLE --store {folder} --to KEY` seals it{others}"


def _lock(name: str) -> Place:
    return Place(
        "the writer's lock", f"{name}/writer.lock", "nothing: it is empty",
        "as long as the store", "nothing to seal", "with the folder",
    )  # fmt: skip


def _prompts(folder: Path | None) -> Place:
    where = folder or f"the folder of --store, or without one {tempfile.gettempdir()}"
    return Place(
        "prompts while learning and evaluating",
        f"{where}/.prompts-…, only when they take more than 48 MB, or than --memory-mb allows",
        "what the base made of each prompt, from which its text could be rebuilt",
        "as long as the process: its name is removed as soon as it is made",
        "where the store is, under a key that dies with the process (AES-256-CTR)",
        "not needed",
    )


def _of_keys(folder: Path | None) -> list[Place]:
    store = (folder and store_id(folder)) or "ID"
    loss = "whoever deletes it can no longer open the store"
    return [
        Place(
            "a key in the keyring", f"{_keyring()}: service dsa-edge, account {store}",
            "32 random bytes, after `--key keyring`", "until you delete it",
            "by the keyring", f"`keyring del dsa-edge {store}`: {loss}",
        ),
        Place(
            "a key file", "PATH of --key file:PATH", "32 random bytes",
            "until you delete it", "no: only its owner may read it (mode 0600)",
            f"delete the file: {loss}",
        ),
    ]  # fmt: skip


def _keyring() -> str:
    """The keyring of this system."""
    if find_spec("keyring") is None:
        return "none (the package keyring is not installed)"
    import keyring

    found = keyring.get_keyring()
    return str(found.name) if found.priority > 0 else "none that can be used on this system"


def _where_asked() -> list[Place]:
    rows = (
        (
            "a report", "FILE of `personalize --report`, DIR of `--plots`",
            "curves, memory and settings; in FILE also a few examples, with answers",
        ),
        ("a prompt", "FILE of `personalize --save-template`", "the user's texts that it shows"),
        (
            "an adapter",
            "path of `Personalizer.save_adapter` (Python), FILE of `import-adapter --out`, the "
            "folders of `export-adapter` and `merge`",
            "what was learned; in a merged model, inside its weights",
        ),
        (
            "a search", "FILE of `tune --study` and `tune --plot`",
            "settings and losses of each trial, and a hash of the examples",
        ),
        (
            "the demo", "the folder of `demo --folder`",
            "its bundle, its user's store, and a report with some of its sentences",
        ),
    )  # fmt: skip
    return [Place(what, where, holds, ASKED, "no", "delete it") for what, where, holds in rows]


def _of_the_machine(bundle: str | None) -> list[Place]:
    """What is of this machine, and says nothing of a user."""
    rows = (
        (
            "the bundle", str(Path(bundle).resolve()) if bundle else "the folder of `export`",
            "until you delete it; after its export only `tune` writes to its manifest",
        ),
        ("a bundle in the making", ".NAME.PID.partial beside it", "as long as `export` runs"),
        (
            "ExecuTorch programs", _programs(),
            "until you delete it; the newest 64 are kept for later exports",
        ),
        ("torch, in `export` and `verify`", _torch(), "until you delete it"),
        ("compiled kernels", str(FOLDER), "until `doctor --build` makes new ones"),
        (
            "bundles and runners on other devices, of `bench --target`",
            f"{Ssh.folder} in the home folder there, {Adb.folder} on a phone",
            "until you delete it",
        ),
    )  # fmt: skip
    return [Place(what, at, NOTHING, stays, "no", "delete it") for what, at, stays in rows]


def _programs() -> str:
    """`programs_folder` of the exporter, whose import would bring torch."""
    if find_spec("platformdirs") is None:
        return "none (exporting for ExecuTorch is not installed)"
    from platformdirs import user_cache_path

    return str(user_cache_path("dsa-edge") / "programs")


def _torch() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user that the system has no name for
        user = "USER"
    default = f"{tempfile.gettempdir()}/torchinductor_{user}"
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR", default)
