package dev.dsaedge;

/** One step of a fit. */
public final class Progress {
    /** Steps done, from 1. */
    public final int step;
    /** Mean over lanes and batch, in nats. */
    public final double loss;
    /** On the held-out examples, in nats; NaN where this step did not measure it. */
    public final double heldOutLoss;
    /** Since the fit began. */
    public final double seconds;

    public Progress(int step, double loss, double heldOutLoss, double seconds) {
        this.step = step;
        this.loss = loss;
        this.heldOutLoss = heldOutLoss;
        this.seconds = seconds;
    }
}
