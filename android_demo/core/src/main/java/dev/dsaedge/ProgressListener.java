package dev.dsaedge;

/** Hears of every step of a fit, on the thread that called it. */
public interface ProgressListener {
    /**
     * A step is done and durable.
     *
     * @return false to end the fit here: what was learned so far is judged and kept as usual
     */
    boolean onStep(Progress progress);
}
