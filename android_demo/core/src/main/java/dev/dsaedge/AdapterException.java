package dev.dsaedge;

/** An adapter cannot be read, or belongs to another bundle. See {@link DsaEdgeException}. */
public final class AdapterException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public AdapterException(String message) {
        super(message);
    }
}
