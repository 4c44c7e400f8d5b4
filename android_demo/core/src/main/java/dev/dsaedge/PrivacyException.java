package dev.dsaedge;

/** A guarantee of privacy cannot be kept. See {@link DsaEdgeException}. */
public final class PrivacyException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public PrivacyException(String message) {
        super(message);
    }
}
