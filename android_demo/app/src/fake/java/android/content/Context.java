package android.content;

import android.app.job.JobScheduler;
import android.content.res.Resources;
import android.os.PowerManager;

import java.io.File;

/** Resources, files and services of an app. */
public abstract class Context {
    public static final String JOB_SCHEDULER_SERVICE = "jobscheduler";
    public static final String POWER_SERVICE = "power";

    public static final JobScheduler JOBS = new JobScheduler();
    public static File files;

    public abstract Context getApplicationContext();

    public Resources getResources() {
        return new Resources();
    }

    public final String getString(int id) {
        return Resources.string(id);
    }

    public final String getString(int id, Object... arguments) {
        return String.format(Resources.string(id), arguments);
    }

    public final int getColor(int id) {
        return id;
    }

    public File getFilesDir() {
        return files;
    }

    public ContentResolver getContentResolver() {
        return new ContentResolver();
    }

    public Object getSystemService(String name) {
        return name.equals(POWER_SERVICE) ? new PowerManager() : JOBS;
    }

    public Intent registerReceiver(BroadcastReceiver receiver, IntentFilter filter) {
        return new Intent();
    }
}
