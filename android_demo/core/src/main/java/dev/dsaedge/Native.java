package dev.dsaedge;

import java.nio.charset.Charset;
import java.util.List;

/**
 * The border to the native runner (runner.h): texts are UTF-8 bytes, for JNI's own strings know no
 * emoji as other programs write them; errors come back as {@link #raise} makes them.
 *
 * <p>The C++ twin is {@code core/src/main/cpp}; names and signatures must match.
 */
final class Native {
    private static final String LIBRARY = "dsaedge";
    private static final int ABI = 1; // DSA_ABI_VERSION
    private static final Charset UTF_8 = Charset.forName("UTF-8");
    private static final String MISSING = load();

    private Native() {}

    static native int abiVersion();

    static native byte[] version();

    /** store and calls may be null. */
    static native long open(byte[] bundle, byte[] store, int threads, Callbacks calls);

    static native void close(long runner);

    static native void stop(long runner);

    /** JSON of the report; of the budget 0 leaves a bound out, and epsilon 0 the guarantee. */
    static native byte[] fit(long runner, byte[] lines, double seconds, long steps,
            double memoryMb, double diskMb, double epsilon, double delta, long batch,
            Callbacks calls);

    /** JSON of the evaluation. */
    static native byte[] evaluate(long runner, byte[] lines, int version, Callbacks calls);

    /** The place of the likeliest choice; probabilities are filled in. */
    static native int choose(
            long runner, byte[] prompt, byte[][] choices, int version, double[] probabilities);

    static native byte[] generate(
            long runner, byte[] prompt, int maxTokens, int version, Callbacks calls);

    static native byte[] plain(long runner, byte[] text);

    /** JSON of versions and fits. */
    static native byte[] history(long runner);

    static native void rollback(long runner, int version);

    static native void forget(long runner);

    static native void saveAdapter(long runner, byte[] file);

    static native int loadAdapter(long runner, byte[] file);

    private static String load() {
        try {
            System.loadLibrary(LIBRARY);
            int abi = abiVersion();
            return abi == ABI ? null : "its interface is " + abi + ", expected " + ABI;
        } catch (LinkageError error) { // not there, or for another processor
            return error.getMessage();
        } catch (SecurityException error) {
            return error.getMessage();
        }
    }

    static boolean isLoaded() {
        return MISSING == null;
    }

    /** Raises EngineException where there is no native library. */
    static void check() {
        if (MISSING != null) {
            throw new EngineException("the native library '" + LIBRARY + "' cannot be used ("
                    + MISSING + "): build it for this processor and pack it.");
        }
    }

    /** Called by the C++ side: the error of a dsa_status. */
    static DsaEdgeException raise(int status, byte[] message) {
        String text = text(message);
        switch (status) {
            case 2:
                return new UsageException(text);
            case 3:
                return new BundleException(text);
            case 4:
                return new AdapterException(text);
            case 5:
                return new ExampleException(text);
            case 6:
                return new EngineException(text);
            case 7:
                return new BudgetException(text);
            case 8:
                return new PrivacyException(text);
            case 9:
                return new StoreException(text);
            case 10:
                return new DamagedException(text);
            case 11:
                return new WrongKeyException(text);
            case 12:
                return new TamperException(text);
            case 13:
                return new StoppedException(text);
            default:
                return new DsaEdgeException(text);
        }
    }

    /** Raises UsageException for a NUL, which would end the text for the runner. */
    static byte[] bytes(String text) {
        if (text.indexOf('\0') >= 0) {
            throw new UsageException("a text holds the character NUL: remove it.");
        }
        return text.getBytes(UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, UTF_8);
    }

    static byte[][] bytes(List<String> texts) {
        byte[][] all = new byte[texts.size()][];
        for (int i = 0; i < all.length; i++) {
            all[i] = bytes(texts.get(i));
        }
        return all;
    }
}
