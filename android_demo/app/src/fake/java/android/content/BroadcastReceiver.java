package android.content;

/** Hears broadcasts. */
public abstract class BroadcastReceiver {}
