"""`--key`: where the key of a sealed store comes from; a passphrase never stands on a command line.

A command line is read by other users of the machine (`ps`) and kept by shells, so that a passphrase
comes from the environment or is typed.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from dsa_edge.errors import UsageError

if TYPE_CHECKING:
    from dsa_edge.runtime import KeyProvider

__all__ = ["FORMS", "KeyChoice", "key_choice", "key_of", "new_key_of", "sealed", "store_id"]

FORMS = "keyring, passphrase or file:PATH"
VARIABLE, NEW_VARIABLE = "DSA_EDGE_PASSPHRASE", "DSA_EDGE_NEW_PASSPHRASE"


@dataclass(frozen=True)
class KeyChoice:
    """What follows --key; path: of a key file."""

    kind: str
    path: Path | None = None


def key_choice(text: str) -> KeyChoice:
    """Parse what follows --key; the message never repeats it, for it may be a passphrase."""
    kind, _, path = text.partition(":")
    if text in ("keyring", "passphrase"):
        return KeyChoice(text)
    if kind == "file" and path:
        return KeyChoice(kind, Path(path).expanduser())
    raise UsageError(
        f"a key is one of {FORMS}, and something else was given (not shown here): the passphrase "
        f"itself goes into {VARIABLE} or is typed when asked for."
    )


def key_of(choice: KeyChoice | None, folder: str | None) -> KeyProvider | None:
    """The key of --key for the store in `folder`."""
    if choice is None:
        return None
    if folder is None:
        raise UsageError("--key is given without --store: name the store, or leave it out.")
    known = sealed(Path(folder))
    if known and choice.path is not None and not choice.path.exists():
        raise UsageError(
            f"there is no key file {choice.path}, and {folder} is sealed already: give the key "
            "that it was sealed with."
        )
    return _key(choice, VARIABLE, f"passphrase of {folder}", not known)


def new_key_of(choice: KeyChoice, folder: str) -> KeyProvider:
    """The key of --to: a passphrase is typed twice."""
    return _key(choice, NEW_VARIABLE, f"new passphrase of {folder}", True)


def sealed(folder: Path) -> bool:
    """Whether there is a sealed store in a folder."""
    return _setting(folder, "proof") is not None


def store_id(folder: Path) -> str | None:
    """The id of the store in a folder, by which a keyring knows it; None where there is none."""
    from dsa_edge.runtime._vault import Vault

    try:
        return Vault().unpack(_setting(folder, "id") or b"", "meta/id").decode()
    except ValueError:  # no store, or a damaged one
        return None


def _setting(folder: Path, name: str) -> bytes | None:
    """A setting of a store, as it was packed; None where there is none."""
    from dsa_edge.runtime._database import FILE

    file = folder / FILE
    if not file.is_file():
        return None
    try:
        address = f"{file.resolve().as_uri()}?mode=rw"  # read-only would leave a log behind
        with closing(sqlite3.connect(address, uri=True)) as database:
            query = "SELECT value FROM meta WHERE key = ?"
            found = database.execute(query, (name,)).fetchone()
    except sqlite3.Error:  # opening it for good tells what is wrong
        return None
    return found[0] if found and isinstance(found[0], bytes) else None


def _key(choice: KeyChoice, variable: str, what: str, twice: bool) -> KeyProvider:
    from dsa_edge.runtime import FileKey, KeyringKey, PassphraseKey

    if choice.path is not None:
        return FileKey(choice.path)
    if choice.kind == "keyring":
        return KeyringKey()
    given = os.environ.get(variable)
    return PassphraseKey(_typed(variable, what, twice) if given is None else given)


def _typed(variable: str, what: str, twice: bool) -> str:
    """A passphrase from the terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"the {what} is needed, and there is no terminal to ask on: set {variable}, or use "
            "keyring or file:PATH."
        )
    try:
        first = getpass(f"{what}: ")
        if twice and getpass(f"{what}, again: ") != first:
            raise UsageError("the two passphrases differ: type the same one twice.")
    except EOFError as error:
        raise UsageError(f"no passphrase was typed: type one, or set {variable}.") from error
    return first
