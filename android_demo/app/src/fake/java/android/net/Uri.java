package android.net;

/** An address. */
public class Uri {}
