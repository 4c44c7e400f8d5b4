package dev.dsaedge;

/** How a fit goes on. */
public final class Progress {
    /** Prompts are being read; {@link #done} of {@link #total}. */
    public static final int PROMPTS = 0;
    /** A step is done and durable. */
    public static final int STEP = 1;

    /** PROMPTS or STEP. */
    public final int phase;
    /** Prompts or steps. */
    public final int done;
    /** Prompts or steps; 0 where it is not known. */
    public final int total;
    /** Of a step: mean over lanes and batch, in nats; NaN where a private fit keeps it unseen. */
    public final double loss;
    /** On the held-out examples, in nats; NaN where this step did not measure it. */
    public final double heldOutLoss;
    /** Since the fit began. */
    public final double seconds;

    public Progress(int phase, int done, int total, double loss, double heldOutLoss,
            double seconds) {
        this.phase = phase;
        this.done = done;
        this.total = total;
        this.loss = loss;
        this.heldOutLoss = heldOutLoss;
        this.seconds = seconds;
    }

    /** A step, as tests make it. */
    public static Progress step(int done, double loss, double heldOutLoss, double seconds) {
        return new Progress(STEP, done, 0, loss, heldOutLoss, seconds);
    }
}
