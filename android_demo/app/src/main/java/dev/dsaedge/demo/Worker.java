package dev.dsaedge.demo;

import android.os.Handler;
import android.os.Looper;

import dev.dsaedge.DsaEdgeException;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Runs tasks off the main thread, and brings results back to it. */
final class Worker {
    private final ExecutorService tasks = Executors.newSingleThreadExecutor();
    private final ExecutorService learning = Executors.newSingleThreadExecutor();
    private final Handler main = new Handler(Looper.getMainLooper());

    /** A task with a result that a screen shows. */
    interface Task<T> {
        T run() throws Exception;
    }

    /** Where a result, or an error that an app can show, arrives: on the main thread. */
    interface Then<T> {
        void done(T result);

        void failed(String message);
    }

    /** Short tasks, one after the other. */
    <T> void run(Task<T> task, Then<T> then) {
        start(tasks, task, then);
    }

    /** What takes minutes, beside the short tasks. */
    <T> void learn(Task<T> task, Then<T> then) {
        start(learning, task, then);
    }

    /** From any thread: runs this on the main thread. */
    void post(Runnable action) {
        main.post(action);
    }

    private <T> void start(ExecutorService thread, final Task<T> task, final Then<T> then) {
        thread.execute(new Runnable() {
            @Override
            public void run() {
                attempt(task, then);
            }
        });
    }

    private <T> void attempt(Task<T> task, final Then<T> then) {
        try {
            final T result = task.run();
            main.post(new Runnable() {
                @Override
                public void run() {
                    then.done(result);
                }
            });
        } catch (final DsaEdgeException error) {
            fail(then, error.getMessage());
        } catch (Exception error) { // of the system, as a file that is gone
            fail(then, String.valueOf(error.getMessage()));
        }
    }

    private <T> void fail(final Then<T> then, final String message) {
        main.post(new Runnable() {
            @Override
            public void run() {
                then.failed(message);
            }
        });
    }
}
