package dev.dsaedge;

/**
 * What the store held is no longer what was written: bits changed, or rows are gone.
 *
 * <p>See {@link DsaEdgeException}.
 */
public final class DamagedException extends StoreException {
    private static final long serialVersionUID = 1;

    public DamagedException(String message) {
        super(message);
    }
}
