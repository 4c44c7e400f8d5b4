package android.content;

/** Which broadcasts to hear. */
public class IntentFilter {
    public IntentFilter(String action) {}
}
