package android.content;

import android.net.Uri;

/** A wish, and an answer; the battery of this phone is full and on a charger. */
public class Intent {
    public static final String ACTION_OPEN_DOCUMENT = "open";
    public static final String ACTION_BATTERY_CHANGED = "battery";
    public static final String CATEGORY_OPENABLE = "openable";

    public final Class<?> screen;
    private final Uri data;

    public Intent() {
        this(null, (Uri) null);
    }

    public Intent(String action) {
        this(null, (Uri) null);
    }

    public Intent(Context context, Class<?> screen) {
        this(screen, (Uri) null);
    }

    public Intent(Uri data) {
        this(null, data);
    }

    private Intent(Class<?> screen, Uri data) {
        this.screen = screen;
        this.data = data;
    }

    public Uri getData() {
        return data;
    }

    public Intent addCategory(String category) {
        return this;
    }

    public Intent setType(String type) {
        return this;
    }

    public int getIntExtra(String name, int otherwise) {
        return name.equals("plugged") ? 1 : name.equals("temperature") ? 250 : 100;
    }
}
