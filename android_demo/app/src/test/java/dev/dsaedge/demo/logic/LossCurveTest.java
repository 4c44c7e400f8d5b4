package dev.dsaedge.demo.logic;

import dev.dsaedge.Check;
import dev.dsaedge.Progress;

/** The picture of a fit: it falls from the top left, and its size is bounded. */
public final class LossCurveTest {
    private final LossCurve curve = new LossCurve();

    public void pointsFillThePicture() {
        curve.add(Progress.step(1, 4, Double.NaN, 0));
        curve.add(Progress.step(2, 2, 1, 0));
        float[] steps = curve.points(100, 40, false);
        Check.equal("[50.0, 0.0, 100.0, 20.0]", java.util.Arrays.toString(steps));
        Check.equal("[100.0, 30.0]", java.util.Arrays.toString(curve.points(100, 40, true)));
        Check.equal(4.0, curve.first());
    }

    public void lossesThatAreNoNumbersAreLeftOut() {
        curve.add(Progress.step(1, Double.NaN, Double.POSITIVE_INFINITY, 0));
        Check.equal(0, curve.points(100, 40, false).length);
        Check.equal(0, curve.points(100, 40, true).length);
    }

    public void aNightOfStepsStaysSmall() {
        for (int step = 1; step <= 100000; step++) {
            curve.add(Progress.step(step, 1.0 / step, 1.0 / step, 0));
        }
        int points = curve.points(100, 40, false).length / 2;
        Check.that(points > 128 && points <= 512, points + " points");
        Check.equal(100000, curve.last().done);
    }

    public void anEmptyPictureHasNoPoints() {
        Check.equal(0, curve.points(100, 40, false).length);
        curve.add(Progress.step(1, 0, 0, 0));
        curve.clear();
        Check.equal(null, curve.last());
    }
}
