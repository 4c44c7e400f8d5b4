package dev.dsaedge;

/** A call was ended before it had a result. See {@link DsaEdgeException}. */
public final class StoppedException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public StoppedException(String message) {
        super(message);
    }
}
