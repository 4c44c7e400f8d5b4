package dev.dsaedge;

import java.io.File;

/** Slices of learning in the background: stopped, interrupted, and taken up again. */
public final class LearningJobTest extends Folder {
    private static final DeviceState GOOD = new DeviceState(true, 80, 30, 0);
    private static final DeviceState UNPLUGGED = new DeviceState(false, 80, 30, 0);

    private final Personalizer me =
            Personalizer.open(new File("smol.dsa"), new File(folder, "store"), null);
    private final Goal goal = new Goal(new File(folder, "goal"));

    @Override
    public void close() {
        me.close();
        super.close();
    }

    public void reachesItsGoal() {
        goal.set(12);
        LearningJob.Slice slice = run(job(GOOD), null);
        Check.equal("12 0", slice.report.steps + " " + slice.left);
        Check.equal(null, run(job(GOOD), null).report);
        Check.equal(1, me.version());
    }

    public void aStoppedSliceIsTakenUpAgain() {
        goal.set(12);
        LearningJob.Slice first = stoppedAfter(5);
        Check.equal("5 7", first.report.steps + " " + first.left);
        Goal read = new Goal(new File(folder, "goal")); // as the next process reads it
        Check.equal(7, read.left());
        LearningJob.Slice second = run(job(GOOD), null);
        Check.equal("7 0", second.report.steps + " " + second.left);
        Check.equal(1, me.history().get(1).parent); // it learned on
    }

    public void aJobThatIsStoppedFirstDoesNothing() {
        goal.set(12);
        LearningJob job = job(GOOD);
        job.stop();
        Check.equal(12, run(job, null).left);
        Check.equal(0, me.version());
    }

    public void waitsForTheCharger() {
        goal.set(12);
        LearningJob.Slice slice = run(job(UNPLUGGED), null);
        Check.equal("[it is not on a charger]", slice.unmet);
        Check.equal(12, slice.left);
    }

    public void endsWhenTheChargerIsPulled() {
        goal.set(1000);
        LearningJob.Slice slice = run(job(GOOD, UNPLUGGED), null);
        Check.equal("[it is not on a charger]", slice.unmet);
        Check.that(slice.report.steps < 100, "within seconds: " + slice.report.steps);
        Check.equal(Report.IMPROVED, slice.report.verdict);
    }

    public void aFailedSliceLeavesTheGoal() {
        final Personalizer full =
                Personalizer.open(new File("smol.dsa"), new File(folder, "full"), null);
        goal.set(12);
        Check.raises(StoreException.class, "disk is full", new Check.Work() {
            @Override
            public void run() {
                new LearningJob(full, new Phone(GOOD), Conditions.gentle())
                        .run(PersonalizerTest.examples(), goal, null);
            }
        });
        Check.equal(12, goal.left());
        full.close();
    }

    private LearningJob.Slice stoppedAfter(final int steps) {
        final LearningJob job = job(GOOD);
        return run(job, new ProgressListener() {
            @Override
            public boolean onProgress(Progress progress) {
                if (progress.phase == Progress.STEP && progress.done == steps) {
                    job.stop(); // as onStopJob does, from another thread
                }
                return true;
            }
        });
    }

    private LearningJob.Slice run(LearningJob job, ProgressListener listener) {
        return job.run(PersonalizerTest.examples(), goal, listener);
    }

    private LearningJob job(DeviceState... states) {
        return new LearningJob(me, new Phone(states), Conditions.gentle());
    }

    /** Tells one state after the other, and the last one from then on. */
    private static final class Phone implements Device {
        private final DeviceState[] states;
        private int asked;

        Phone(DeviceState... states) {
            this.states = states;
        }

        @Override
        public DeviceState read() {
            return states[Math.min(asked++, states.length - 1)];
        }
    }
}
