package android.content;

/** A class of an app. */
public final class ComponentName {
    public ComponentName(Context context, Class<?> component) {}
}
