package dev.dsaedge;

/** The work cannot fit the memory, time or disk that was allowed. See {@link DsaEdgeException}. */
public final class BudgetException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public BudgetException(String message) {
        super(message);
    }
}
