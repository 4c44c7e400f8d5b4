package android.app;

import android.content.Context;
import android.content.Intent;
import android.os.Bundle;
import android.view.View;

import java.util.ArrayList;
import java.util.List;

/** Keeps what was shown and asked for. */
public class Activity extends Context {
    public static final int RESULT_OK = -1;

    public View content;
    public final List<Intent> started = new ArrayList<Intent>();
    private Application application;

    /** As the system does: creates the screen and brings it to the front. */
    public void launch(Application owner) {
        application = owner;
        onCreate(null);
        onResume();
    }

    /** As a picker that was closed does. */
    public void answer(int request, int result, Intent data) {
        onActivityResult(request, result, data);
    }

    protected void onCreate(Bundle saved) {}

    protected void onResume() {}

    protected void onPause() {}

    /** As a turn of the phone does to the screen that is in front. */
    public void leave() {
        onPause();
    }

    protected void onActivityResult(int request, int result, Intent data) {}

    public final Application getApplication() {
        return application;
    }

    @Override
    public Context getApplicationContext() {
        return application;
    }

    public boolean isDestroyed() {
        return false;
    }

    public void setContentView(View view) {
        content = view;
    }

    public void startActivity(Intent intent) {
        started.add(intent);
    }

    public void startActivityForResult(Intent intent, int request) {
        started.add(intent);
    }
}
