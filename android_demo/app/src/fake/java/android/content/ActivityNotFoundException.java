package android.content;

/** No app for an intent. */
public class ActivityNotFoundException extends RuntimeException {}
