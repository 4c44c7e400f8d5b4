package dev.dsaedge;

/** Hears how a fit goes on, on its thread; it must not call the same Personalizer. */
public interface ProgressListener {
    /**
     * A step is done and durable, or prompts were read.
     *
     * @return false to end the fit here: what was learned so far is judged and kept as usual
     */
    boolean onProgress(Progress progress);
}
