package android.os;

import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** The main thread's queue; a test is the main thread. */
public final class Looper {
    static final LinkedBlockingQueue<Runnable> QUEUE = new LinkedBlockingQueue<Runnable>();
    private static final Looper MAIN = new Looper();

    private Looper() {}

    public static Looper getMainLooper() {
        return MAIN;
    }

    /** Forgets what was posted. */
    public static void clear() {
        QUEUE.clear();
    }

    /** Runs the next action; raises AssertionError when none comes. */
    public static void runNext() throws InterruptedException {
        Runnable next = QUEUE.poll(20, TimeUnit.SECONDS);
        if (next == null) {
            throw new AssertionError("nothing came to the main thread in 20 seconds");
        }
        next.run();
    }
}
