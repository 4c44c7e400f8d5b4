package dev.dsaedge;

import java.io.File;
import java.util.ArrayList;
import java.util.List;

/** Private fits through the Java border: what is told, what is kept unseen, what is refused. */
public final class PrivacyTest extends Folder {
    private static final Budget SHORT = Budget.unlimited().withSteps(10);
    private static final DeviceState GOOD = new DeviceState(true, 80, 30, 0);

    private final Personalizer me =
            Personalizer.open(new File("smol.dsa"), new File(folder, "store"), null);
    private final Goal goal = new Goal(new File(folder, "goal"));

    @Override
    public void close() {
        me.close();
        super.close();
    }

    public void aReportTellsWhatAPrivateFitTook() {
        Spent spent = me.fit(examples(), SHORT, Privacy.of(8).withDelta(1e-4), null).privacy;
        Check.equal("8.0 1.0E-4 rdp", spent.epsilon + " " + spent.delta + " " + spent.accountant);
        Check.equal("1.5 0.25 10 8.0", spent.noise + " " + spent.share + " " + spent.steps + " "
                + spent.verdict);
    }

    public void withoutAGuaranteeNothingIsSpent() {
        Check.equal(null, me.fit(examples(), SHORT, null).privacy);
        Check.equal(null, me.fit(examples(), SHORT, null, null).privacy);
    }

    public void lossesOfStepsStayUnseen() {
        final List<Double> losses = new ArrayList<Double>();
        me.fit(examples(), SHORT, Privacy.of(1), new ProgressListener() {
            @Override
            public boolean onProgress(Progress progress) {
                losses.add(progress.loss);
                losses.add(progress.heldOutLoss);
                return true;
            }
        });
        for (double loss : losses) {
            Check.equal(Double.NaN, loss);
        }
    }

    public void whatCannotBeKeptIsRefusedAndNothingIsLost() {
        refused(PersonalizerTest.examples(), "too few for a private fit");
        Check.equal(0, me.history().size());
        me.fit(examples(), SHORT, Privacy.of(8), null);
        refused(examples(), "already spent");
        Check.equal(1, me.version());
        Check.equal(2, me.fit(examples(), SHORT, Privacy.of(9), null).version);
    }

    public void whatIsNoGuaranteeIsRefusedAtOnce() {
        for (final double bad : new double[] {0, -1, Double.NaN, Double.POSITIVE_INFINITY}) {
            Check.raises(UsageException.class, "epsilon is " + bad, new Check.Work() {
                @Override
                public void run() {
                    Privacy.of(bad);
                }
            });
        }
        for (final double bad : new double[] {0, 1, Double.NaN}) {
            Check.raises(UsageException.class, "delta is " + bad, new Check.Work() {
                @Override
                public void run() {
                    Privacy.of(8).withDelta(bad);
                }
            });
        }
        Check.raises(UsageException.class, "batch of privacy is 0", new Check.Work() {
            @Override
            public void run() {
                Privacy.of(8).withBatch(0);
            }
        });
    }

    public void aPrivateGoalHasOneSlice() {
        goal.set(12);
        final LearningJob job = job(Privacy.of(8));
        LearningJob.Slice slice = job.run(examples(), goal, new ProgressListener() {
            @Override
            public boolean onProgress(Progress progress) {
                return progress.done < 5;
            }
        });
        Check.equal("5 0", slice.report.privacy.steps + " " + slice.left);
        Check.equal(null, job(Privacy.of(8)).run(examples(), goal, null).report);
    }

    public void aGoalThatIsSpentSaysSoAndIsLeft() {
        me.fit(examples(), SHORT, Privacy.of(8), null);
        goal.set(12);
        Check.raises(PrivacyException.class, "ask for more", new Check.Work() {
            @Override
            public void run() {
                job(Privacy.of(8)).run(examples(), goal, null);
            }
        });
        Check.equal(12, goal.left());
    }

    private LearningJob job(Privacy privacy) {
        return new LearningJob(me, new Device() {
            @Override
            public DeviceState read() {
                return GOOD;
            }
        }, Conditions.gentle(), privacy);
    }

    private void refused(final List<Example> examples, String words) {
        Check.raises(PrivacyException.class, words, new Check.Work() {
            @Override
            public void run() {
                me.fit(examples, SHORT, Privacy.of(8), null);
            }
        });
    }

    /** Enough for the stand-in. */
    private static List<Example> examples() {
        List<Example> many = new ArrayList<Example>(PersonalizerTest.examples());
        many.addAll(PersonalizerTest.examples());
        return many;
    }
}
