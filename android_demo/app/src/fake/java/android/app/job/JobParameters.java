package android.app.job;

/** Of one run of a job. */
public class JobParameters {}
