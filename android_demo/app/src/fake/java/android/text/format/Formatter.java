package android.text.format;

import android.content.Context;

/** Sizes for people. */
public final class Formatter {
    private Formatter() {}

    public static String formatShortFileSize(Context context, long bytes) {
        return bytes + " B";
    }
}
