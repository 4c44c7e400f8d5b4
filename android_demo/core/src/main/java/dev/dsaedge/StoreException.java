package dev.dsaedge;

/** The user's store cannot be read or written. See {@link DsaEdgeException}. */
public class StoreException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public StoreException(String message) {
        super(message);
    }
}
