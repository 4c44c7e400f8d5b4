package dev.dsaedge;

import java.nio.charset.Charset;
import java.util.List;

/**
 * The border to the native runner: texts are UTF-8 bytes, for JNI's own strings know neither
 * emoji nor NUL as other programs write them; errors come back as {@link #raise} makes them.
 *
 * <p>The C++ twin is {@code core/src/main/cpp}; names and signatures must match.
 */
final class Native {
    private static final String LIBRARY = "dsaedge";
    private static final Charset UTF_8 = Charset.forName("UTF-8");
    private static final Throwable MISSING = load();

    private Native() {}

    static native byte[] version();

    /** store and calls may be null. */
    static native long open(byte[] bundle, byte[] store, Callbacks calls);

    static native void close(long runner);

    /** choices has one array an example, empty for free responses; 0 leaves a bound out. */
    static native Report fit(long runner, byte[][] prompts, byte[][] responses, byte[][][] choices,
            double seconds, int steps, double memoryMb, Callbacks calls);

    static native float[] choose(long runner, byte[] prompt, byte[][] choices, int version);

    static native byte[] generate(
            long runner, byte[] prompt, int maxTokens, int version, Callbacks calls);

    static native byte[] plain(long runner, byte[] text);

    static native Version[] history(long runner);

    static native void rollback(long runner, int version);

    static native void forget(long runner);

    static native void saveAdapter(long runner, byte[] file);

    private static Throwable load() {
        try {
            System.loadLibrary(LIBRARY);
            return null;
        } catch (LinkageError error) { // not there, or for another processor
            return error;
        } catch (SecurityException error) {
            return error;
        }
    }

    static boolean isLoaded() {
        return MISSING == null;
    }

    /** Raises EngineException where there is no native library. */
    static void check() {
        if (MISSING != null) {
            throw new EngineException("the native library '" + LIBRARY + "' cannot be loaded ("
                    + MISSING.getMessage() + "): build it for this processor and pack it.");
        }
    }

    /** Called by the C++ side: the error of a code, see runner.h. */
    static DsaEdgeException raise(int code, byte[] message) {
        String text = text(message);
        switch (code) {
            case 1:
                return new UsageException(text);
            case 2:
                return new BundleException(text);
            case 3:
                return new AdapterException(text);
            case 4:
                return new ExampleException(text);
            case 5:
                return new EngineException(text);
            case 6:
                return new BudgetException(text);
            case 7:
                return new StoreException(text);
            case 8:
                return new DamagedException(text);
            case 9:
                return new WrongKeyException(text);
            case 10:
                return new TamperException(text);
            default:
                return new DsaEdgeException(text);
        }
    }

    static byte[] bytes(String text) {
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
