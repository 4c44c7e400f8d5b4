package dev.dsaedge.demo;

import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.app.job.JobService;
import android.content.ComponentName;
import android.content.Context;

import dev.dsaedge.Conditions;
import dev.dsaedge.LearningJob;
import dev.dsaedge.Progress;
import dev.dsaedge.ProgressListener;
import dev.dsaedge.android.AndroidDevice;

/**
 * Learns while the phone charges and is idle, a slice a job.
 *
 * <p>When the system takes the time back, the slice ends within one step and keeps what it learned;
 * the next job goes on towards the same goal. If the process is killed, the goal is still there.
 */
public final class LearnService extends JobService {
    private static final int JOB = 1;
    private static final int STEPS = 400; // what a night has time for
    private static final long PAUSE_MS = 60 * 1000; // before the next slice, at least

    /** Asks for a goal's worth of steps; false if the system does not take the job. */
    static boolean schedule(Context context) {
        ((DemoApplication) context.getApplicationContext()).session().goal().set(STEPS);
        return submit(context);
    }

    private static boolean submit(Context context) {
        JobInfo job = new JobInfo.Builder(JOB, new ComponentName(context, LearnService.class))
                .setRequiresCharging(true)
                .setRequiresDeviceIdle(true)
                .setMinimumLatency(PAUSE_MS)
                .build();
        JobScheduler jobs = (JobScheduler) context.getSystemService(JOB_SCHEDULER_SERVICE);
        return jobs.schedule(job) == JobScheduler.RESULT_SUCCESS;
    }

    @Override
    public boolean onStartJob(final JobParameters job) {
        final DemoApplication app = (DemoApplication) getApplication();
        app.curve().clear();
        app.worker().learn(new Worker.Task<LearningJob.Slice>() {
            @Override
            public LearningJob.Slice run() {
                // A charger is asked of the scheduler; the battery's state and heat are ours to see.
                return app.session().learn(true, new AndroidDevice(app), Conditions.gentle(),
                        new Steps(app));
            }
        }, new Ended(job));
        return true; // work goes on
    }

    @Override
    public boolean onStopJob(JobParameters job) {
        ((DemoApplication) getApplication()).session().stop();
        return true; // come back for the rest
    }

    /** Adds the steps to the curve. */
    private static final class Steps implements ProgressListener {
        private final DemoApplication app;

        Steps(DemoApplication app) {
            this.app = app;
        }

        @Override
        public boolean onProgress(Progress progress) {
            app.curve().add(progress);
            return true;
        }
    }

    /** Tells the scheduler, and asks for the next slice if there is more to do. */
    private final class Ended implements Worker.Then<LearningJob.Slice> {
        private final JobParameters job;

        Ended(JobParameters job) {
            this.job = job;
        }

        @Override
        public void done(LearningJob.Slice slice) {
            jobFinished(job, slice.left > 0);
        }

        @Override
        public void failed(String message) {
            jobFinished(job, false); // it would fail again: the screen tells when learning by hand
        }
    }
}
