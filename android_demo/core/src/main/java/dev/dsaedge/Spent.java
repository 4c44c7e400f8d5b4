package dev.dsaedge;

/** What a private fit took of the guarantee. */
public final class Spent {
    /** Spent by all fits of the store up to this one, at {@link #delta}. */
    public final double epsilon;
    /** See {@link Privacy#delta}. */
    public final double delta;
    /** Standard deviation of the noise of a step, over what one example can change. */
    public final double noise;
    /** Share of the examples that a step draws, on average. */
    public final double share;
    /** Steps that count. */
    public final int steps;
    /** Epsilon of the verdict, on the held-out examples. */
    public final double verdict;
    /** How epsilon was counted: "rdp" by the runner, "pld" by Python. */
    public final String accountant;

    Spent(double epsilon, double delta, double noise, double share, int steps, double verdict,
            String accountant) {
        this.epsilon = epsilon;
        this.delta = delta;
        this.noise = noise;
        this.share = share;
        this.steps = steps;
        this.verdict = verdict;
        this.accountant = accountant;
    }
}
