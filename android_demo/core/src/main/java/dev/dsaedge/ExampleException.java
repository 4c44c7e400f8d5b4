package dev.dsaedge;

/** The examples are malformed, empty, or cannot be learned from. See {@link DsaEdgeException}. */
public final class ExampleException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public ExampleException(String message) {
        super(message);
    }
}
