package dev.dsaedge;

/**
 * What the C++ side calls. Nothing is thrown through native code: an exception ends the work as a
 * wish to stop would, and {@link #rethrow} brings it back to the caller.
 */
final class Callbacks {
    private final KeyProvider keys;
    private final ProgressListener steps;
    private final TokenListener pieces;
    private RuntimeException thrown;

    Callbacks(KeyProvider keys, ProgressListener steps, TokenListener pieces) {
        this.keys = keys;
        this.steps = steps;
        this.pieces = pieces;
    }

    /** See {@link ProgressListener}. */
    boolean onStep(int step, double loss, double heldOutLoss, double seconds) {
        if (steps == null) {
            return true;
        }
        try {
            return steps.onStep(new Progress(step, loss, heldOutLoss, seconds));
        } catch (RuntimeException error) {
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
        } catch (RuntimeException error) {
            thrown = error;
            return false;
        }
    }

    /** See {@link KeyProvider}; null when there is no key to be had. */
    byte[] key(byte[] store, byte[] salt) {
        try {
            byte[] key = keys.key(Native.text(store), salt);
            if (key.length != KeyProvider.KEY_BYTES) {
                throw new UsageException("a KeyProvider gave " + key.length
                        + " bytes, expected " + KeyProvider.KEY_BYTES + ": give an AES-256 key.");
            }
            return key;
        } catch (RuntimeException error) {
            thrown = error;
            return null;
        }
    }

    /** Throws what a listener or provider threw, if anything. */
    void rethrow() {
        if (thrown != null) {
            throw thrown;
        }
    }
}
