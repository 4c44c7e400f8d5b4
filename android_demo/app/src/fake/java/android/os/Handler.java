package android.os;

/** Brings actions to the main thread. */
public class Handler {
    public Handler(Looper looper) {}

    public final boolean post(Runnable action) {
        return Looper.QUEUE.add(action);
    }
}
