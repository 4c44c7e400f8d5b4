package android.app.job;

/** Keeps the last job that was asked for. */
public class JobScheduler {
    public static final int RESULT_SUCCESS = 1;

    public JobInfo asked;

    public int schedule(JobInfo job) {
        asked = job;
        return RESULT_SUCCESS;
    }
}
