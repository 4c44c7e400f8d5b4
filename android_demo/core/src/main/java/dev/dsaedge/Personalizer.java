package dev.dsaedge;

import java.io.Closeable;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;

/**
 * One user's model: a bundle, the user's store, and the adapter version in use.
 *
 * <pre>
 * Personalizer me = Personalizer.open(bundle, store, keys);
 * Report report = me.fit(examples, Budget.unlimited().withSeconds(120), listener);
 * Answer answer = me.choose("… It was", Arrays.asList(" great", " terrible"));
 * me.rollback(0);
 * me.close();
 * </pre>
 *
 * <p>Calls block, so make them off the main thread; calls from several threads wait for each other.
 * Errors are {@link DsaEdgeException}s. What was learned is durable step by step: a process that is
 * killed leaves a whole store behind.
 */
public final class Personalizer implements Closeable {
    /** In place of a version: the one in use. */
    public static final int ACTIVE = -1;

    private long handle; // of the native runner; 0 once closed

    private Personalizer(long handle) {
        this.handle = handle;
    }

    /** Whether there is a native library for this processor. */
    public static boolean isAvailable() {
        return Native.isLoaded();
    }

    /** Whether the native library is a stand-in that learns nothing, to try an app with. */
    public static boolean isSimulated() {
        return Native.isLoaded() && runner().contains("simulated");
    }

    /** Name and version of the native runner. Raises EngineException where there is none. */
    public static String runner() {
        Native.check();
        return Native.text(Native.version());
    }

    /**
     * Opens a bundle for one user.
     *
     * @param bundle folder that `dsa-edge export` wrote
     * @param store the user's folder, made when missing; null keeps what is learned in memory
     * @param keys seals the store; null leaves it open, for stores that others cannot read anyway
     * @throws BundleException for a bundle that is damaged, or for another runtime
     * @throws StoreException for a store that cannot be read, or belongs to another bundle
     */
    public static Personalizer open(File bundle, File store, KeyProvider keys) {
        Native.check();
        Callbacks calls = new Callbacks(keys, null, null);
        byte[] folder = store == null ? null : Native.bytes(store.getPath());
        try {
            long handle = Native.open(
                    Native.bytes(bundle.getPath()), folder, keys == null ? null : calls);
            return new Personalizer(handle);
        } catch (DsaEdgeException error) {
            calls.rethrow(); // what a provider threw says more
            throw error;
        }
    }

    /**
     * Learns from examples, starting from the adapter in use; a part of them is held out. Unless
     * the loss on these improves, the adapter stays as it was.
     *
     * @param listener hears of every step and may end the fit; may be null
     * @throws ExampleException for examples that cannot be learned from
     * @throws BudgetException when the budget is too small for this model
     */
    public synchronized Report fit(List<Example> examples, Budget budget,
            ProgressListener listener) {
        Callbacks calls = new Callbacks(null, listener, null);
        int n = examples.size();
        byte[][] prompts = new byte[n][];
        byte[][] responses = new byte[n][];
        byte[][][] choices = new byte[n][][];
        for (int i = 0; i < n; i++) {
            prompts[i] = Native.bytes(examples.get(i).prompt);
            responses[i] = Native.bytes(examples.get(i).response);
            choices[i] = Native.bytes(examples.get(i).choices);
        }
        Report report = Native.fit(open(), prompts, responses, choices, budget.seconds,
                budget.steps, budget.memoryMb, calls);
        calls.rethrow();
        return report;
    }

    /** The likeliest of several continuations of a prompt, by the version in use. */
    public Answer choose(String prompt, List<String> choices) {
        return choose(prompt, choices, ACTIVE);
    }

    /**
     * The likeliest of several continuations of a prompt, of one token or more each.
     *
     * @param version whose adapter to use, or ACTIVE
     */
    public synchronized Answer choose(String prompt, List<String> choices, int version) {
        if (choices.size() < 2 || new HashSet<String>(choices).size() != choices.size()) {
            throw new UsageException("choices are " + choices
                    + ", expected at least two distinct ones: add or correct one.");
        }
        float[] probabilities = Native.choose(
                open(), Native.bytes(prompt), Native.bytes(choices), version);
        List<String> kept = Collections.unmodifiableList(new ArrayList<String>(choices));
        return new Answer(best(probabilities), kept, probabilities);
    }

    /**
     * Continues a prompt, with the likeliest token each time.
     *
     * @param version whose adapter to use, or ACTIVE
     * @param listener hears the text as it comes and may end it; may be null
     */
    public synchronized String generate(String prompt, int maxTokens, int version,
            TokenListener listener) {
        if (maxTokens < 1) {
            throw new UsageException("maxTokens is " + maxTokens + ", expected at least 1.");
        }
        Callbacks calls = new Callbacks(null, null, listener);
        byte[] text = Native.generate(open(), Native.bytes(prompt), maxTokens, version, calls);
        calls.rethrow();
        return Native.text(text);
    }

    /**
     * A user's text as it may stand in a prompt: special tokens that it holds stay text. Any other
     * text is returned as it is.
     */
    public synchronized String plain(String text) {
        return Native.text(Native.plain(open(), Native.bytes(text)));
    }

    /** All saved versions, oldest first; 0 is the bundle's initial adapter. */
    public synchronized List<Version> history() {
        return Collections.unmodifiableList(Arrays.asList(Native.history(open())));
    }

    /** The version in use. */
    public synchronized int version() {
        for (Version version : history()) {
            if (version.active) {
                return version.id;
            }
        }
        return 0;
    }

    /** Uses an earlier version again; 0 is the bundle's initial adapter. */
    public synchronized void rollback(int version) {
        Native.rollback(open(), version);
    }

    /** Deletes all that was learned: versions, journal, examples, caches. */
    public synchronized void forget() {
        Native.forget(open());
    }

    /** Writes the adapter in use to a file, which Python's `load_adapter` reads as well. */
    public synchronized void saveAdapter(File file) {
        Native.saveAdapter(open(), Native.bytes(file.getPath()));
    }

    /** Releases the model and closes the store; what follows raises UsageException. */
    @Override
    public synchronized void close() {
        if (handle != 0) {
            Native.close(handle);
            handle = 0;
        }
    }

    private static int best(float[] probabilities) {
        int best = 0;
        for (int i = 1; i < probabilities.length; i++) {
            best = probabilities[i] > probabilities[best] ? i : best;
        }
        return best;
    }

    private long open() {
        if (handle == 0) {
            throw new UsageException("this Personalizer is closed: open another one.");
        }
        return handle;
    }
}
