package dev.dsaedge;

/** One saved adapter of a user. */
public final class Version {
    /** In place of a parent: what the store says of it is damaged. */
    public static final int NO_PARENT = -1;

    /** From 1 on. */
    public final int id;
    /** The version that it was learned from, 0 for the bundle's; NO_PARENT if that is unknown. */
    public final int parent;
    /** In seconds since 1970; NaN if unknown. */
    public final double created;
    /** How its fit ended; "damaged" when the store cannot tell. */
    public final String verdict;
    /** Steps of its fit. */
    public final int steps;
    /** Whether it is the one in use. */
    public final boolean active;

    Version(int id, int parent, double created, String verdict, int steps, boolean active) {
        this.id = id;
        this.parent = parent;
        this.created = created;
        this.verdict = verdict;
        this.steps = steps;
        this.active = active;
    }
}
