package dev.dsaedge;

/** A call or an option that cannot be meant this way. See {@link DsaEdgeException}. */
public final class UsageException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public UsageException(String message) {
        super(message);
    }
}
