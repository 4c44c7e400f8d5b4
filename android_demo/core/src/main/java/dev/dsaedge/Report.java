package dev.dsaedge;

/** The outcome of one fit. */
public final class Report {
    /** A new version is active. */
    public static final String IMPROVED = "improved";
    /** The version before is still active. */
    public static final String NO_IMPROVEMENT = "no improvement";
    /** The version before is still active, for the loss left all bounds. */
    public static final String DIVERGED = "diverged";

    /** IMPROVED, NO_IMPROVEMENT or DIVERGED. */
    public final String verdict;
    /** The version that is active now. */
    public final int version;
    /** Steps done. */
    public final int steps;
    /** The held-out examples with the adapter that was active. */
    public final Evaluation before;
    /** The held-out examples with the adapter that is active now. */
    public final Evaluation after;
    /** What a private fit took; null for others. */
    public final Spent privacy;

    Report(String verdict, int version, int steps, Evaluation before, Evaluation after,
            Spent privacy) {
        this.verdict = verdict;
        this.version = version;
        this.steps = steps;
        this.before = before;
        this.after = after;
        this.privacy = privacy;
    }
}
