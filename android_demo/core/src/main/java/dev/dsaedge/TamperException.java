package dev.dsaedge;

/**
 * Something that does not have the store's key has changed what it holds.
 *
 * <p>See {@link DsaEdgeException}.
 */
public final class TamperException extends StoreException {
    private static final long serialVersionUID = 1;

    public TamperException(String message) {
        super(message);
    }
}
