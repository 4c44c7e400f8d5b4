package dev.dsaedge;

/** A bundle is missing, damaged, or written by another version. See {@link DsaEdgeException}. */
public final class BundleException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public BundleException(String message) {
        super(message);
    }
}
