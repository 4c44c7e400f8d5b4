package android.app.job;

import android.app.Application;
import android.content.Context;

/** Keeps how a job ended. */
public abstract class JobService extends Context {
    public static final String JOB_SCHEDULER_SERVICE = "jobscheduler";

    public Application owner;
    public Boolean reschedule; // null while the job runs

    public abstract boolean onStartJob(JobParameters job);

    public abstract boolean onStopJob(JobParameters job);

    public final void jobFinished(JobParameters job, boolean again) {
        reschedule = again;
    }

    public final Application getApplication() {
        return owner;
    }

    @Override
    public Context getApplicationContext() {
        return owner;
    }
}
