package dev.dsaedge.demo.logic;

import dev.dsaedge.Answer;
import dev.dsaedge.BundleArchive;
import dev.dsaedge.BundleException;
import dev.dsaedge.Conditions;
import dev.dsaedge.Device;
import dev.dsaedge.DsaEdgeException;
import dev.dsaedge.Example;
import dev.dsaedge.ExampleException;
import dev.dsaedge.Goal;
import dev.dsaedge.KeyProvider;
import dev.dsaedge.Labels;
import dev.dsaedge.LearningJob;
import dev.dsaedge.Personalizer;
import dev.dsaedge.Privacy;
import dev.dsaedge.ProgressListener;
import dev.dsaedge.StoreException;
import dev.dsaedge.UsageException;
import dev.dsaedge.Version;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/**
 * What the app does, without a screen: one user, one bundle, one store, all in one folder.
 *
 * <p>Calls block: make them from a worker. While a slice of learning runs, whatever needs the model
 * or the store raises UsageException at once; examples can be written, and {@link #stop} ends it.
 */
public final class Session implements Closeable {
    /** As the labels of {@link Draft}. */
    private static final Labels LABELS = new Labels("{text} It was", "terrible", "great");
    private static final long MOST_BYTES = 4L << 30;
    private static final int MOST_TOKENS = 40;
    private static final Privacy PRIVACY = Privacy.of(8);
    private static final int INITIAL = 0; // the version before anything was learned

    private final File bundle;
    private final File store;
    private final File privately; // there: with a guarantee
    private final KeyProvider keys;
    private final ExampleBook examples;
    private final Goal goal;
    private final ReentrantLock lock = new ReentrantLock();
    private Personalizer personalizer;
    private volatile LearningJob job;

    public Session(File folder, KeyProvider keys) {
        bundle = new File(folder, "bundle.dsa");
        store = new File(folder, "store");
        privately = new File(folder, "private");
        this.keys = keys;
        examples = new ExampleBook(new SealedFile(new File(folder, "examples"), keys));
        goal = new Goal(new File(folder, "goal"));
    }

    public boolean hasBundle() {
        return bundle.isDirectory();
    }

    /**
     * Replaces the bundle by the one of a zip, once that has been opened and found whole.
     *
     * <p>Raises BundleException, EngineException or StoreException; the bundle is then as before.
     */
    public void importBundle(InputStream zip) {
        enter();
        try {
            File fresh = new File(bundle.getPath() + ".import");
            long room = Math.min(MOST_BYTES, bundle.getParentFile().getUsableSpace());
            BundleArchive.unpack(zip, fresh, room);
            try {
                close(); // two models at once may be too much for the memory
                Personalizer.open(fresh, null, null).close();
                BundleArchive.install(fresh, bundle);
            } finally {
                BundleArchive.delete(fresh);
            }
        } finally {
            lock.unlock();
        }
    }

    public ExampleBook examples() {
        return examples;
    }

    public Goal goal() {
        return goal;
    }

    /** Whether there are labelled texts to learn from; false when they cannot be read. */
    public boolean hasLabelled() {
        try {
            for (Draft draft : examples.all()) {
                if (draft.isLabelled()) {
                    return true;
                }
            }
        } catch (DsaEdgeException unreadable) { // learning will tell
            return false;
        }
        return false;
    }

    /** Whether slices have a guarantee of privacy; the choice outlives the process. */
    public boolean isPrivate() {
        return privately.exists();
    }

    /** For slices that begin from now on. Raises StoreException; the choice is then as before. */
    public void setPrivate(boolean wanted) {
        try {
            if (wanted ? privately.createNewFile() || isPrivate() : !isPrivate()
                    || privately.delete()) {
                return;
            }
            throw new IOException("cannot delete " + privately.getName());
        } catch (IOException error) {
            throw new StoreException("the choice of privacy cannot be written ("
                    + error.getMessage() + "): free some space and choose again.");
        }
    }

    /** Whether a slice of learning runs now. */
    public boolean learning() {
        return job != null;
    }

    /** Ends the slice that runs now after its step. */
    public void stop() {
        LearningJob running = job;
        if (running != null) {
            running.stop();
        }
    }

    /**
     * Learns for one slice towards the goal.
     *
     * @param labelled from labelled texts, else from written responses
     */
    public LearningJob.Slice learn(boolean labelled, Device device,
            Conditions conditions, ProgressListener listener) {
        enter();
        try {
            job = new LearningJob(
                    open(), device, conditions, isPrivate() ? PRIVACY : null);
            return job.run(toLearn(labelled), goal, listener);
        } finally {
            job = null;
            lock.unlock();
        }
    }

    /** A text's label as it was before anything was learned, and as it is now. */
    public Pair label(String text) {
        enter();
        try {
            String prompt = LABELS.prompt(open().plain(text));
            return new Pair(said(open().choose(prompt, LABELS.choices(), INITIAL)),
                    said(open().choose(prompt, LABELS.choices(), Personalizer.ACTIVE)), version());
        } finally {
            lock.unlock();
        }
    }

    /** How a text goes on, before anything was learned, and now. */
    public Pair write(String text) {
        enter();
        try {
            String prompt = open().plain(text);
            return new Pair(open().generate(prompt, MOST_TOKENS, INITIAL, null),
                    open().generate(prompt, MOST_TOKENS, Personalizer.ACTIVE, null), version());
        } finally {
            lock.unlock();
        }
    }

    /** All saved versions; what was there before them is version 0. */
    public List<Version> history() {
        enter();
        try {
            return open().history();
        } finally {
            lock.unlock();
        }
    }

    public int version() {
        enter();
        try {
            return open().version();
        } finally {
            lock.unlock();
        }
    }

    public void rollback(int version) {
        enter();
        try {
            open().rollback(version);
        } finally {
            lock.unlock();
        }
    }

    /** Deletes examples, versions, journal and goal. The bundle stays. */
    public void forget() {
        enter();
        try {
            examples.clear();
            goal.clear();
            try {
                open().forget();
            } catch (DsaEdgeException unreadable) { // or of another bundle: it goes as a whole
                close();
                BundleArchive.delete(store);
            }
        } finally {
            lock.unlock();
        }
    }

    /** What is on the storage. */
    public Stored stored() {
        enter();
        try {
            return new Stored(examples.all().size(), examples.bytes(),
                    hasBundle() ? history().size() : 0, Stored.bytesOf(store),
                    Stored.bytesOf(bundle));
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void close() {
        enter();
        try {
            if (personalizer != null) {
                personalizer.close();
                personalizer = null;
            }
        } finally {
            lock.unlock();
        }
    }

    private void enter() {
        if (!lock.tryLock()) {
            throw new UsageException("the phone is learning now: stop that, or wait for its end.");
        }
    }

    private Personalizer open() {
        if (personalizer == null) {
            if (!hasBundle()) {
                throw new BundleException("there is no bundle: import one first.");
            }
            personalizer = Personalizer.open(bundle, store, keys);
        }
        return personalizer;
    }

    private List<Example> toLearn(boolean labelled) {
        List<Example> found = new ArrayList<Example>();
        for (Draft draft : examples.all()) {
            if (draft.isLabelled() && labelled) {
                found.add(LABELS.example(open().plain(draft.text), draft.label));
            } else if (!draft.isLabelled() && !labelled) {
                found.add(Example.of(open().plain(draft.text), draft.response));
            }
        }
        if (found.isEmpty()) {
            throw new ExampleException("there are no examples of this kind yet: add some first.");
        }
        return found;
    }

    private static String said(Answer answer) {
        int best = answer.choices.indexOf(answer.text);
        long percent = Math.round(100.0 * answer.probability(best));
        return answer.text.trim() + " (" + percent + " %)";
    }

    /** The same question, answered by two versions. */
    public static final class Pair {
        public final String before;
        public final String after;
        /** The one that answered `after`. */
        public final int version;

        Pair(String before, String after, int version) {
            this.before = before;
            this.after = after;
            this.version = version;
        }
    }
}
