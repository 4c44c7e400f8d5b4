package dev.dsaedge.demo;

import dev.dsaedge.Conditions;
import dev.dsaedge.LearningJob;
import dev.dsaedge.Progress;
import dev.dsaedge.ProgressListener;
import dev.dsaedge.Report;
import dev.dsaedge.Spent;
import dev.dsaedge.android.AndroidDevice;
import dev.dsaedge.demo.logic.LossCurve;

/** One slice of learning at a time, begun by a screen or by a job, and what it tells any screen. */
final class Learning {
    private final DemoApplication app;
    private final LossCurve curve = new LossCurve();
    private String status = "";
    private Watcher watcher;
    private volatile boolean stopped;

    Learning(DemoApplication app) {
        this.app = app;
    }

    /** A screen that shows how it goes on; called on the main thread. */
    interface Watcher {
        void changed();
    }

    /** Called on the main thread when a slice has ended. */
    interface Ended {
        /** more: whether a later slice should go on. */
        void ended(boolean more);
    }

    LossCurve curve() {
        return curve;
    }

    /** What to show of the slice that runs, or of the last one. */
    String status() {
        return status;
    }

    /** Null for nobody. A screen that was made anew, as after a turn of the phone, takes over. */
    void watch(Watcher screen) {
        watcher = screen;
    }

    /** Begins a slice; errors become the status. */
    void begin(final boolean labelled, final Conditions conditions, final Ended ended) {
        stopped = false;
        curve.clear();
        tell(app.getString(R.string.learning));
        app.worker().learn(new Worker.Task<LearningJob.Slice>() {
            @Override
            public LearningJob.Slice run() {
                return app.session().learn(
                        labelled, new AndroidDevice(app), conditions, new Steps());
            }
        }, new Worker.Then<LearningJob.Slice>() {
            @Override
            public void done(LearningJob.Slice slice) {
                tell(outcome(slice));
                ended.ended(slice.left > 0);
            }

            @Override
            public void failed(String message) {
                tell(message);
                ended.ended(false); // it would fail again
            }
        });
    }

    /** From any thread: ends the slice after its step, or before its first if it has not begun. */
    void stop() {
        stopped = true;
        app.session().stop();
    }

    private void tell(String text) {
        status = text;
        if (watcher != null) {
            watcher.changed();
        }
    }

    private String outcome(LearningJob.Slice slice) {
        Report report = slice.report;
        if (report == null) {
            return app.getString(R.string.waits, slice.unmet.toString());
        }
        String told = app.getString(R.string.verdict, report.verdict, report.steps,
                report.before.loss, report.after.loss, report.version);
        Spent spent = report.privacy;
        return spent == null ? told : app.getString(R.string.verdict_privately, told,
                spent.epsilon, spent.delta, spent.accountant);
    }

    private String going(Progress progress) {
        if (progress.phase == Progress.PROMPTS) {
            return app.getString(R.string.prompts, progress.done, progress.total);
        }
        return Double.isNaN(progress.loss)
                ? app.getString(R.string.step_privately, progress.done)
                : app.getString(R.string.step, progress.done, progress.loss);
    }

    /** Passes steps to the screen; learning does not wait for it. */
    private final class Steps implements ProgressListener {
        @Override
        public boolean onProgress(final Progress progress) {
            curve.add(progress);
            app.worker().post(new Runnable() {
                @Override
                public void run() {
                    tell(going(progress));
                }
            });
            return !stopped;
        }
    }
}
