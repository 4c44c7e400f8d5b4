package dev.dsaedge;

/** The inference engine refused a model or failed in a run. See {@link DsaEdgeException}. */
public final class EngineException extends DsaEdgeException {
    private static final long serialVersionUID = 1;

    public EngineException(String message) {
        super(message);
    }
}
