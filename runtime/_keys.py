"""Where the key of a sealed store comes from: the system's keyring, a passphrase, or a file.

Keyring and file hold a secret; a store's key is derived from it and the store's salt, so that a
new salt is a new key.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dsa_edge.errors import MissingDependencyError, UsageError, WrongKeyError
from dsa_edge.runtime._vault import KEY_BYTES, ciphers

__all__ = ["FileKey", "KeyKeeper", "KeyProvider", "KeyringKey", "PassphraseKey", "keeps"]

SCRYPT = {"n": 2**15, "r": 8, "p": 1}  # 32 MB and about 0.1 s a guess (RFC 7914)


class KeyProvider(Protocol):
    """Gives a store its key; apps supply their own, as Android's Keystore."""

    @property
    def name(self) -> str:
        """What a message calls it."""
        ...

    def key(self, store: str, salt: bytes) -> bytes:
        """32 bytes for the store of that id, the same each time; salt: 16 random bytes of its."""
        ...


@runtime_checkable
class KeyKeeper(Protocol):
    """A provider that makes its secret when first asked, and must not for a sealed store."""

    def keeps(self, store: str) -> bool:
        """Whether the secret of the store of that id is there."""
        ...


def keeps(key: KeyProvider, store: str) -> bool:
    """Whether a provider has the secret of a store; one that makes none always does."""
    return key.keeps(store) if isinstance(key, KeyKeeper) else True


class KeyringKey:
    """A random secret in the keyring of the operating system, made when first asked for.

    Raises MissingDependencyError without the package `keyring`, UsageError without any keyring.
    """

    name = "the system's keyring"

    def __init__(self, service: str = "dsa-edge") -> None:
        self._service = service

    def key(self, store: str, salt: bytes) -> bytes:
        """See `KeyProvider`."""
        text = self._find(store)
        if text is None:
            text = base64.b64encode(os.urandom(KEY_BYTES)).decode()
            self._ask(lambda keyring: keyring.set_password(self._service, store, text))
        try:
            return _derived(base64.b64decode(text), store, salt)
        except ValueError as error:
            raise WrongKeyError(
                f"the keyring's entry {self._service} for {store} is no key of ours ({error}): "
                "restore it; nothing was changed."
            ) from error

    def keeps(self, store: str) -> bool:
        """See `KeyKeeper`."""
        return self._find(store) is not None

    def _find(self, store: str) -> str | None:
        found: str | None = self._ask(lambda keyring: keyring.get_password(self._service, store))
        return found

    @staticmethod
    def _ask(what: Callable[[Any], Any]) -> Any:
        keyring = _keyring()
        try:
            return what(keyring)
        except keyring.errors.KeyringError as error:
            raise UsageError(
                f"this system has no keyring that can be used ({error}): use a passphrase or a "
                "key file."
            ) from error


class PassphraseKey:
    """A key derived from a passphrase by scrypt."""

    name = "the passphrase"

    def __init__(self, passphrase: str) -> None:
        if not passphrase:
            raise UsageError("the passphrase is empty: give one.")
        self._passphrase = passphrase.encode()

    def key(self, store: str, salt: bytes) -> bytes:
        """See `KeyProvider`."""
        derive = ciphers("scrypt").Scrypt(salt=salt, length=KEY_BYTES, **SCRYPT)
        derived: bytes = derive.derive(self._passphrase)
        return derived


class FileKey:
    """A random secret in a file that only its owner may read, made when it is missing.

    The fallback where there is no keyring: whoever can read the file can read the store.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.name = f"the key file {path}"

    def key(self, store: str, salt: bytes) -> bytes:
        """See `KeyProvider`."""
        try:
            if not self._path.exists():
                self._make()
            if os.name == "posix" and stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                raise UsageError(
                    f"{self._path} can be read by others: `chmod 600 {self._path}` first, or make "
                    "a new key."
                )
            found = self._path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"the key file {self._path} cannot be used ({error.strerror}): check its folder "
                "and permissions."
            ) from error
        if len(found) != KEY_BYTES:
            raise WrongKeyError(
                f"{self._path} holds {len(found)} bytes, expected {KEY_BYTES}: it is no key of "
                "ours, give the right file."
            )
        return _derived(found, store, salt)

    def keeps(self, store: str) -> bool:
        """See `KeyKeeper`."""
        return self._path.exists()

    def _make(self) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        with os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())


def _derived(secret: bytes, store: str, salt: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869): another salt, another key."""
    sha256, info = ciphers("hashes").SHA256(), b"dsa-edge store " + store.encode()
    derive = ciphers("hkdf").HKDF(sha256, KEY_BYTES, salt, info)
    key: bytes = derive.derive(secret)
    return key


def _keyring() -> Any:
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise MissingDependencyError("keyring", "seal", "a key in the keyring") from error
    return keyring
