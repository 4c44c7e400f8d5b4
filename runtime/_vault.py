"""How a store keeps what is private: compressed, checked, and sealed where there is a key.

    blob = checksum (8) | payload        payload = zlib, or nonce (12) | AES-256-GCM of it

The checksum (BLAKE2b of place and payload) is no secret: a blob that fails it was damaged. One that
passes it and fails AES-GCM's tag was written without the key. Each blob is bound to its place, so
none can stand in for another.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import MissingDependencyError, TamperError
from dsa_edge.runtime._engine import Floats

__all__ = ["KEY_BYTES", "PageCipher", "Vault", "ciphers"]

KEY_BYTES = 32
CHECK, NONCE = 8, 12
MOST = 1 << 30  # bytes that a blob may unpack to


class Vault:
    """Packs and unpacks blobs; key: `KEY_BYTES` bytes, or None to check without sealing."""

    def __init__(self, key: bytes | None = None) -> None:
        self.sealed = key is not None
        self._cipher: Any = None if key is None else ciphers("aead").AESGCM(key)

    def pack(self, data: bytes, place: str) -> bytes:
        """The blob of some bytes at a place, `table/row/column`."""
        payload = zlib.compress(data, 1)
        if self._cipher is not None:
            nonce = os.urandom(NONCE)
            payload = nonce + self._cipher.encrypt(nonce, payload, place.encode())
        return _checksum(payload, place) + payload

    def unpack(self, blob: bytes, place: str) -> bytes:
        """The bytes of a blob.

        Raises ValueError when it is damaged, TamperError when it was written without the key.
        """
        payload = bytes(blob[CHECK:])
        if len(blob) < CHECK or _checksum(payload, place) != bytes(blob[:CHECK]):
            raise ValueError(f"{place} does not match its checksum")
        if self._cipher is not None:
            payload = self._opened(payload, place)
        unpacker = zlib.decompressobj()
        try:
            return unpacker.decompress(payload, MOST)
        except zlib.error as error:
            raise ValueError(f"{place} is {error}") from error

    def pack_floats(self, array: Floats, place: str) -> bytes:
        """The blob of float32 numbers, byte by byte: exponents are alike, so they compress."""
        planes = np.ascontiguousarray(array, dtype="<f4").reshape(-1, 1).view(np.uint8).T
        return self.pack(planes.tobytes(), place)

    def unpack_floats(self, blob: bytes, place: str) -> Floats:
        """Float32 numbers, flat; raises as `unpack`."""
        planes = np.frombuffer(self.unpack(blob, place), dtype=np.uint8).reshape(4, -1)
        return np.ascontiguousarray(planes.T).view("<f4")[:, 0].astype(np.float32)

    def _opened(self, payload: bytes, place: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            opened: bytes = self._cipher.decrypt(payload[:NONCE], payload[NONCE:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise TamperError(
                f"{place} was changed by something that does not have the store's key: restore the "
                "store from a backup, or forget what it learned."
            ) from error
        return opened


class PageCipher:
    """AES-256-CTR under a key that dies with the process, for what is written once and read often.

    Pages are told apart by their number, so no two are encrypted alike.
    """

    def __init__(self) -> None:
        self._module, self._key = ciphers("ciphers"), os.urandom(KEY_BYTES)

    def apply(self, page: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """Encrypt, or decrypt, the bytes of a page."""
        start = number.to_bytes(8, "big") + bytes(8)
        mode = self._module.modes.CTR(start)
        stream = self._module.Cipher(self._module.algorithms.AES(self._key), mode).encryptor()
        return np.frombuffer(stream.update(page.tobytes()), dtype=np.uint8)


def ciphers(which: str) -> Any:
    """A module of the package `cryptography`: `aead`, `ciphers`, `hashes`, `hkdf` or `scrypt`."""
    try:
        from cryptography.hazmat.primitives import ciphers as plain
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.ciphers import aead
        from cryptography.hazmat.primitives.kdf import hkdf, scrypt
    except ImportError as error:
        raise MissingDependencyError("cryptography", "seal", "a sealed store") from error
    found = {"aead": aead, "ciphers": plain, "hashes": hashes, "hkdf": hkdf, "scrypt": scrypt}
    return found[which]


def _checksum(payload: bytes, place: str) -> bytes:
    return hashlib.blake2b(payload, digest_size=CHECK, key=place.encode()[:64]).digest()
