package dev.dsaedge;

/**
 * What one example may reveal at most to whoever sees what was learned: differential privacy, over
 * all fits of a store together. Immutable.
 *
 * <pre>Privacy.of(8).withDelta(1e-4)</pre>
 *
 * <p>Such a fit needs some hundreds of examples, tells no losses while it runs, and is always a new
 * one: one that was killed counts in full, and is not gone on with.
 */
public final class Privacy {
    /** 8 is weak, 1 strong. */
    public final double epsilon;
    /** Chance that the bound fails, below 1 / examples; 0 for 1e-5. */
    public final double delta;
    /** Examples a step, on average; 0 for 32. */
    public final int batch;

    private Privacy(double epsilon, double delta, int batch) {
        this.epsilon = epsilon;
        this.delta = delta;
        this.batch = batch;
    }

    /** Raises UsageException unless positive and finite. */
    public static Privacy of(double epsilon) {
        if (!(epsilon > 0) || Double.isInfinite(epsilon)) {
            throw new UsageException(
                    "epsilon is " + epsilon + ", expected a number more than 0.");
        }
        return new Privacy(epsilon, 0, 0);
    }

    /** Raises UsageException unless between 0 and 1. */
    public Privacy withDelta(double delta) {
        if (!(delta > 0 && delta < 1)) {
            throw new UsageException(
                    "delta is " + delta + ", expected a number between 0 and 1, as 1e-5.");
        }
        return new Privacy(epsilon, delta, batch);
    }

    /** Raises UsageException unless positive. */
    public Privacy withBatch(int batch) {
        if (batch < 1) {
            throw new UsageException(
                    "the batch of privacy is " + batch + ", expected at least 1.");
        }
        return new Privacy(epsilon, delta, batch);
    }
}
