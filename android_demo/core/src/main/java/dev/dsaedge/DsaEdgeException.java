package dev.dsaedge;

/**
 * Base of every error that dsa-edge raises on purpose; the message says what was expected, what
 * came and what to do, in one sentence that an app can show.
 *
 * <pre>
 * DsaEdgeException
 * ├── UsageException      a wrong call or option
 * ├── BundleException     bundle missing, damaged, or of another version
 * ├── AdapterException    adapter unreadable, or made for another bundle
 * ├── ExampleException    examples malformed, empty, or unusable
 * ├── EngineException     the inference engine refused or failed
 * ├── BudgetException     the work cannot fit the memory, time or disk allowed
 * ├── PrivacyException    a guarantee of privacy cannot be kept
 * ├── StoppedException    a call was ended before it had a result
 * └── StoreException      the user's store cannot be read or written
 *     ├── DamagedException   what it held is no longer what was written
 *     ├── WrongKeyException  it is sealed with another key, or the key is missing
 *     └── TamperException    something without its key changed it
 * </pre>
 *
 * The tree is that of Python's {@code dsa_edge.errors}.
 */
public class DsaEdgeException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public DsaEdgeException(String message) {
        super(message);
    }

    public DsaEdgeException(String message, Throwable cause) {
        super(message, cause);
    }
}
