package android.util;

/** Of the display. */
public class DisplayMetrics {
    public float density = 2;
}
