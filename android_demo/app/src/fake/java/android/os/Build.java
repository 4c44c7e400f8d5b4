package android.os;

/** Which Android this is. */
public class Build {
    /** See Build. */
    public static class VERSION {
        public static final int SDK_INT = Integer.getInteger("android", 34);
    }
}
