package dev.dsaedge;

/**
 * The store is sealed, and this is not its key, or its key is missing.
 *
 * <p>See {@link DsaEdgeException}.
 */
public final class WrongKeyException extends StoreException {
    private static final long serialVersionUID = 1;

    public WrongKeyException(String message) {
        super(message);
    }
}
