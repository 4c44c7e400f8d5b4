package android.app.job;

import android.content.ComponentName;

/** What a job waits for. */
public class JobInfo {
    public boolean charging;
    public boolean idle;

    /** See JobInfo. */
    public static final class Builder {
        private final JobInfo job = new JobInfo();

        public Builder(int id, ComponentName service) {}

        public Builder setRequiresCharging(boolean required) {
            job.charging = required;
            return this;
        }

        public Builder setRequiresDeviceIdle(boolean required) {
            job.idle = required;
            return this;
        }

        public Builder setMinimumLatency(long milliseconds) {
            return this;
        }

        public JobInfo build() {
            return job;
        }
    }
}
