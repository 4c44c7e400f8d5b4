package dev.dsaedge;

/** What tests assert. */
public final class Check {
    private Check() {}

    /** Work that should raise an error. */
    public interface Work {
        void run() throws Exception;
    }

    public static void equal(Object expected, Object got) {
        if (!String.valueOf(expected).equals(String.valueOf(got))) {
            throw new AssertionError("expected " + expected + ", got " + got);
        }
    }

    public static void that(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    /** The error of this very type that the work raises, whose message has these words. */
    public static <E extends Exception> E raises(Class<E> type, String words, Work work) {
        try {
            work.run();
        } catch (Exception error) {
            that(error.getClass() == type, "expected " + type + ", got " + error);
            that(String.valueOf(error.getMessage()).contains(words),
                    "expected '" + words + "' in: " + error.getMessage());
            return type.cast(error);
        }
        throw new AssertionError("expected " + type.getSimpleName() + ", nothing was raised");
    }
}
