package android.os;

/** What a screen saved. */
public final class Bundle {}
