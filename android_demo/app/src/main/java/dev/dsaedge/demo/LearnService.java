package dev.dsaedge.demo;

import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.app.job.JobService;
import android.content.ComponentName;
import android.content.Context;

import dev.dsaedge.Conditions;

/**
 * Learns while the phone charges and is idle, a slice a job.
 *
 * <p>When the system takes the time back, the slice ends within one step and keeps what it learned;
 * the next job goes on towards the same goal. If the process is killed, the goal is still there.
 */
public final class LearnService extends JobService {
    private static final int JOB = 1;
    private static final int STEPS = 400; // what a night has time for
    private static final long PAUSE_MS = 60 * 1000; // before the first slice, at least

    /**
     * Asks for a goal's worth of steps; false if the system does not take the job. Raises
     * StoreException where the goal cannot be written.
     */
    static boolean schedule(Context context) {
        ((DemoApplication) context.getApplicationContext()).session().goal().set(STEPS);
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
        DemoApplication app = (DemoApplication) getApplication();
        // A charger and idleness are asked of the scheduler; the battery and heat are ours to see.
        app.learning().begin(app.session().hasLabelled(), Conditions.gentle(),
                new Learning.Ended() {
                    @Override
                    public void ended(boolean more) {
                        jobFinished(job, more);
                    }
                });
        return true; // work goes on
    }

    @Override
    public boolean onStopJob(JobParameters job) {
        ((DemoApplication) getApplication()).learning().stop();
        return true; // come back for the rest
    }
}
