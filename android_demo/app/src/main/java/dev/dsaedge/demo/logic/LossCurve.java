package dev.dsaedge.demo.logic;

import dev.dsaedge.Progress;

/** The losses of a fit, of its steps and of the held-out examples, as points of a picture. */
public final class LossCurve {
    private final Series losses = new Series();
    private final Series heldOut = new Series();
    private Progress last;

    /** Adds a step; what is none is left out. */
    public synchronized void add(Progress progress) {
        if (progress.phase != Progress.STEP) {
            return;
        }
        losses.add(progress.done, progress.loss);
        heldOut.add(progress.done, progress.heldOutLoss);
        last = progress;
    }

    public synchronized void clear() {
        losses.clear();
        heldOut.clear();
        last = null;
    }

    /** The last step, or null. */
    public synchronized Progress last() {
        return last;
    }

    /** The loss of the first step; NaN before it. */
    public synchronized double first() {
        return losses.first();
    }

    /**
     * Points to draw: x0, y0, x1, y1, … in pixels, y downwards from the highest loss; losses that
     * are no numbers are left out.
     *
     * @param ofHeldOut the held-out losses, else those of the steps
     */
    public synchronized float[] points(float width, float height, boolean ofHeldOut) {
        double top = Math.max(1e-6, Math.max(losses.most(), heldOut.most())); // all may be 0
        int steps = last == null ? 1 : last.done;
        return (ofHeldOut ? heldOut : losses).points(width / steps, height / top, height);
    }
}
