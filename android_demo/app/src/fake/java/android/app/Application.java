package android.app;

import android.content.Context;

/** The process's own context. */
public class Application extends Context {
    public void onCreate() {}

    @Override
    public Context getApplicationContext() {
        return this;
    }
}
