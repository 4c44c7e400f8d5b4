package dev.dsaedge;

/**
 * What the C++ side calls. Nothing is thrown through native code: what is thrown ends the work as a
 * wish to stop would, and {@link #rethrow} brings it back to the caller.
 */
final class Callbacks {
    private final KeyProvider keys;
    private final ProgressListener progress;
    private final TokenListener pieces;
    private Throwable thrown;

    private Callbacks(KeyProvider keys, ProgressListener progress, TokenListener pieces) {
        this.keys = keys;
        this.progress = progress;
        this.pieces = pieces;
    }

    /** Null without a provider. */
    static Callbacks forKeys(KeyProvider keys) {
        return keys == null ? null : new Callbacks(keys, null, null);
    }

    static Callbacks forProgress(ProgressListener progress) {
        return new Callbacks(null, progress, null);
    }

    static Callbacks forText(TokenListener pieces) {
        return new Callbacks(null, null, pieces);
    }

    /** See {@link ProgressListener}; phases are those of runner.h. */
    boolean onProgress(int phase, long done, long total, double loss, double heldOutLoss,
            double seconds) {
        if (progress == null || phase > Progress.STEP) {
            return true;
        }
        try {
            return progress.onProgress(new Progress(
                    phase, (int) done, (int) total, loss, heldOutLoss, seconds));
        } catch (Throwable error) { // errors too: none may cross native code
            thrown = error;
            return false;
        }
    }

    /** See {@link TokenListener}. */
    boolean onText(byte[] piece) {
        if (pieces == null) {
            return true;
        }
        try {
            return pieces.onText(Native.text(piece));
        } catch (Throwable error) {
            thrown = error;
            return false;
        }
    }

    /** See {@link KeyProvider}; null when there is no key to be had. */
    byte[] key(byte[] store, byte[] salt, boolean newStore) {
        try {
            byte[] key = keys.key(Native.text(store), salt, newStore);
            if (key.length != KeyProvider.KEY_BYTES) {
                throw new UsageException("a KeyProvider gave " + key.length
                        + " bytes, expected " + KeyProvider.KEY_BYTES + ": give an AES-256 key.");
            }
            return key;
        } catch (Throwable error) {
            thrown = error;
            return null;
        }
    }

    /** Throws what a listener or provider threw, if anything. */
    void rethrow() {
        if (thrown instanceof Error) {
            throw (Error) thrown;
        }
        if (thrown != null) { // listeners declare no checked exceptions, but Kotlin's may throw one
            throw thrown instanceof RuntimeException
                    ? (RuntimeException) thrown : new DsaEdgeException("a listener failed", thrown);
        }
    }
}
