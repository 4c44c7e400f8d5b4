package dev.dsaedge;

import java.io.Closeable;
import java.io.File;
import java.util.ArrayList;
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
 * <p>Calls block, so make them off the main thread; calls from several threads wait for each other,
 * but for {@link #stop}. Errors are {@link DsaEdgeException}s. What was learned is durable step by
 * step: a process that is killed leaves a whole store behind.
 */
public final class Personalizer implements Closeable {
    /** In place of a version: the one in use. */
    public static final int ACTIVE = -1;

    private static final int ALL_CORES = 0;

    private final Object lifetime = new Object(); // guards `runner`: stop comes from any thread
    private long runner; // 0 once closed
    private boolean working; // a call is in native code, maybe in a callback

    private Personalizer(long runner) {
        this.runner = runner;
    }

    /** Whether there is a native library for this processor. */
    public static boolean isAvailable() {
        return Native.isLoaded();
    }

    /** Whether the native library is a stand-in that learns nothing, to try an app with. */
    public static boolean isSimulated() {
        return Native.isLoaded() && runner().contains("simulated");
    }

    /** Version of the native runner. Raises EngineException where there is none. */
    public static String runner() {
        Native.check();
        return Native.text(Native.version());
    }

    /** As the next one, on all cores. */
    public static Personalizer open(File bundle, File store, KeyProvider keys) {
        return open(bundle, store, keys, ALL_CORES);
    }

    /**
     * Opens a bundle for one user.
     *
     * @param bundle folder that `dsa-edge export` wrote
     * @param store the user's folder, made when missing; null keeps what is learned in memory
     * @param keys seals a new store and opens a sealed one; null for none
     * @param threads of the engine; 0 takes all cores
     * @throws BundleException for a bundle that is damaged, or for another runtime
     * @throws StoreException for a store that cannot be read, or belongs to another bundle
     */
    public static Personalizer open(File bundle, File store, KeyProvider keys, int threads) {
        Native.check();
        Callbacks calls = Callbacks.forKeys(keys);
        byte[] folder = store == null ? null : Native.bytes(store.getPath());
        try {
            return new Personalizer(
                    Native.open(Native.bytes(bundle.getPath()), folder, threads, calls));
        } catch (DsaEdgeException error) {
            if (calls != null) {
                calls.rethrow(); // what a provider threw says more
            }
            throw error;
        }
    }

    /**
     * Learns from examples, starting from the version in use; a part of them is held out. Unless
     * the loss on these improves, the version in use stays.
     *
     * @param listener hears of prompts and steps and may end the fit; may be null
     * @throws ExampleException for examples that cannot be learned from
     * @throws BudgetException when the budget is too small for this model
     * @throws StoppedException when it was ended before there was anything to judge
     */
    public Report fit(List<Example> examples, Budget budget, ProgressListener listener) {
        return fit(examples, budget, null, listener);
    }

    /**
     * As the one before, with a guarantee of privacy.
     *
     * @param privacy what one example may reveal at most; null for no guarantee
     * @throws PrivacyException when it cannot be kept, as with few examples, or is spent already
     */
    public synchronized Report fit(List<Example> examples, Budget budget, Privacy privacy,
            ProgressListener listener) {
        byte[] lines = Records.lines(examples);
        Callbacks calls = Callbacks.forProgress(listener);
        byte[] told = null;
        long runner = begin();
        try {
            told = Native.fit(runner, lines, budget.seconds, budget.steps, budget.memoryMb,
                    budget.diskMb, privacy == null ? 0 : privacy.epsilon,
                    privacy == null ? 0 : privacy.delta, privacy == null ? 0 : privacy.batch,
                    calls);
        } finally {
            working = false;
            calls.rethrow();
        }
        return Records.report(told);
    }

    /** The loss of the version in use on examples, and its accuracy if they have choices. */
    public synchronized Evaluation evaluate(List<Example> examples) {
        byte[] lines = Records.lines(examples);
        return Records.evaluation(
                Native.evaluate(idle(), lines, ACTIVE, Callbacks.forProgress(null)));
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
        List<String> kept = Collections.unmodifiableList(new ArrayList<String>(choices));
        if (kept.size() < 2 || new HashSet<String>(kept).size() != kept.size()) {
            throw new UsageException("choices are " + kept
                    + ", expected at least two distinct ones: add or correct one.");
        }
        double[] probabilities = new double[kept.size()];
        int best = Native.choose(
                idle(), Native.bytes(prompt), Native.bytes(kept), version, probabilities);
        return new Answer(best, kept, probabilities);
    }

    /** As the next one, by the version in use and with nobody listening. */
    public String generate(String prompt, int maxTokens) {
        return generate(prompt, maxTokens, ACTIVE, null);
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
        byte[] given = Native.bytes(prompt);
        Callbacks calls = Callbacks.forText(listener);
        byte[] text = null;
        long runner = begin();
        try {
            text = Native.generate(runner, given, maxTokens, version, calls);
        } finally {
            working = false;
            calls.rethrow();
        }
        return Native.text(text);
    }

    /**
     * A user's text as it may stand in a prompt: special tokens that it holds stay text. Any other
     * text is returned as it is.
     */
    public synchronized String plain(String text) {
        return Native.text(Native.plain(idle(), Native.bytes(text)));
    }

    /**
     * Ends the call that works, from any thread: a fit after its step and with a verdict, a text
     * where it is. Without a call that works, or once closed, nothing.
     */
    public void stop() {
        synchronized (lifetime) {
            if (runner != 0) {
                Native.stop(runner);
            }
        }
    }

    /** All saved versions, oldest first; 0, the bundle's initial adapter, is not among them. */
    public synchronized List<Version> history() {
        return Collections.unmodifiableList(Records.versions(Native.history(idle())));
    }

    /** The version in use; 0 is the bundle's initial adapter. */
    public synchronized int version() {
        return Records.active(Native.history(idle()));
    }

    /** Uses an earlier version again; 0 is the bundle's initial adapter. */
    public synchronized void rollback(int version) {
        Native.rollback(idle(), version);
    }

    /** Deletes all that was learned: versions, journal, examples, caches. */
    public synchronized void forget() {
        Native.forget(idle());
    }

    /** Writes the adapter in use to a file, which Python's `load_adapter` reads as well. */
    public synchronized void saveAdapter(File file) {
        Native.saveAdapter(idle(), Native.bytes(file.getPath()));
    }

    /** Makes a new version of such a file and uses it; returns its id. */
    public synchronized int loadAdapter(File file) {
        return Native.loadAdapter(idle(), Native.bytes(file.getPath()));
    }

    /** Releases the model and closes the store; what follows raises UsageException. */
    @Override
    public synchronized void close() {
        if (runner == 0) {
            return;
        }
        long closed = idle();
        synchronized (lifetime) {
            runner = 0;
        }
        Native.close(closed);
    }

    private long begin() {
        long runner = idle();
        working = true;
        return runner;
    }

    /** A thread may enter its own monitor again, so a listener could get here. */
    private long idle() {
        if (working) {
            throw new UsageException(
                    "a listener called its own Personalizer: return from the listener first.");
        }
        if (runner == 0) {
            throw new UsageException("this Personalizer is closed: open another one.");
        }
        return runner;
    }
}
