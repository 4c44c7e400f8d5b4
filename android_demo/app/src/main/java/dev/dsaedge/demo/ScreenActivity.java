package dev.dsaedge.demo;

import android.app.Activity;
import android.os.Bundle;
import android.view.View;
import android.widget.Toast;

/** What all screens share: one page of views, and work that is done off the main thread. */
abstract class ScreenActivity extends Activity {
    private Page page;

    /** Adds the views of this screen; called once. */
    abstract void build(Page page);

    /** Takes back what a screen said of a task that failed; the error is shown. */
    void failed() {}

    /** Shows what is true now; called whenever the screen comes to the front. */
    abstract void refresh();

    @Override
    protected final void onCreate(Bundle saved) {
        super.onCreate(saved);
        page = new Page(this);
        build(page);
        setContentView(page.view());
    }

    @Override
    protected void onResume() {
        super.onResume();
        refresh();
    }

    final DemoApplication app() {
        return (DemoApplication) getApplication();
    }

    /** Runs a task; the page is disabled meanwhile, and an error is shown. */
    final <T> void work(Worker.Task<T> task, final Shown<T> shown) {
        page.setEnabled(false);
        app().worker().run(task, new Worker.Then<T>() {
            @Override
            public void done(T result) {
                page.setEnabled(true);
                if (!isDestroyed()) {
                    shown.show(result);
                }
            }

            @Override
            public void failed(String message) {
                page.setEnabled(true);
                ScreenActivity.this.failed();
                say(message);
            }
        });
    }

    /** A message that screen readers read as well. */
    final void say(String message) {
        Toast.makeText(getApplicationContext(), message, Toast.LENGTH_LONG).show();
    }

    /** Puts a result on the screen. */
    interface Shown<T> {
        void show(T result);
    }

    /** A click without its view. */
    abstract static class Click implements View.OnClickListener {
        abstract void clicked();

        @Override
        public final void onClick(View view) {
            clicked();
        }
    }
}
