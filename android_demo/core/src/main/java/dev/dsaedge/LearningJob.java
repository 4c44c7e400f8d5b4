package dev.dsaedge;

import java.util.Collections;
import java.util.List;

/**
 * One slice of learning in the background, as a system's job scheduler grants it.
 *
 * <p>A slice is one fit that ends early, within one step, when {@link #stop} is called, when its
 * time is over, or when the device is no longer as it should be. What it learned until then is
 * judged and kept as of any fit, so the next slice goes on from there. If the process is killed
 * instead, the next slice with the same examples goes on behind the last step in the journal.
 *
 * <p>With a guarantee of privacy the goal has one slice: what that takes of the guarantee is spent,
 * however few steps it had time for, and one that was killed counts in full.
 */
public final class LearningJob {
    /** WorkManager stops a worker after ten minutes; this leaves two for the verdict. */
    public static final double SLICE_SECONDS = 480;

    private static final double CHECK_SECONDS = 5;

    private final Personalizer personalizer;
    private final Device device;
    private final Conditions conditions;
    private final Privacy privacy;
    private volatile boolean stopped;

    public LearningJob(Personalizer personalizer, Device device, Conditions conditions) {
        this(personalizer, device, conditions, null);
    }

    /** privacy: as {@link Personalizer#fit} takes it; null for no guarantee. */
    public LearningJob(Personalizer personalizer, Device device, Conditions conditions,
            Privacy privacy) {
        this.personalizer = personalizer;
        this.device = device;
        this.conditions = conditions;
        this.privacy = privacy;
    }

    /** From any thread: end the slice after the step that runs now. */
    public void stop() {
        stopped = true;
    }

    /**
     * Runs a slice; blocks until it ends.
     *
     * @param goal says how many steps are left, and is told of those that were done
     * @param listener may be null
     * @return why it ended, and whether there is more to do
     * @throws DsaEdgeException as {@link Personalizer#fit}
     */
    public Slice run(List<Example> examples, Goal goal, ProgressListener listener) {
        List<String> unmet = conditions.unmet(device.read());
        if (stopped || goal.left() == 0 || !unmet.isEmpty()) {
            return new Slice(null, unmet, goal.left());
        }
        Watch watch = new Watch(listener);
        Budget budget = Budget.unlimited().withSteps(goal.left()).withSeconds(SLICE_SECONDS);
        Report report = personalizer.fit(examples, budget, privacy, watch);
        goal.add(privacy == null ? report.steps : goal.left());
        return new Slice(report, watch.unmet, goal.left());
    }

    /** What a slice came to. */
    public static final class Slice {
        /** Null when no step was allowed. */
        public final Report report;
        /** What was not as it should be; empty when that is not why it ended. */
        public final List<String> unmet;
        /** Steps for later slices; 0 when the goal is reached. */
        public final int left;

        Slice(Report report, List<String> unmet, int left) {
            this.report = report;
            this.unmet = unmet;
            this.left = left;
        }
    }

    /** Passes steps on, and ends the fit when it should. */
    private final class Watch implements ProgressListener {
        private final ProgressListener listener;
        private double checked;
        List<String> unmet = Collections.emptyList();

        Watch(ProgressListener listener) {
            this.listener = listener;
        }

        @Override
        public boolean onProgress(Progress progress) {
            boolean goOn = listener == null || listener.onProgress(progress);
            return goOn && !stopped && allowed(progress.seconds);
        }

        private boolean allowed(double seconds) {
            if (seconds - checked < CHECK_SECONDS) {
                return true;
            }
            checked = seconds;
            unmet = conditions.unmet(device.read());
            return unmet.isEmpty();
        }
    }
}
