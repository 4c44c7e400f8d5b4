package dev.dsaedge;

/** Gives a store the key that seals it, as Android's Keystore does. */
public interface KeyProvider {
    /** Bytes of a key (AES-256). */
    int KEY_BYTES = 32;

    /**
     * The key of a store, the same each time.
     *
     * @param store id of the store
     * @param salt 16 random bytes of that store; a new salt is a new key
     * @param newStore nothing is sealed with the key yet, so a secret may be made for it; otherwise
     *     a missing secret must be a WrongKeyException
     * @return {@link #KEY_BYTES} bytes; the caller overwrites them once they are used
     */
    byte[] key(String store, byte[] salt, boolean newStore);
}
