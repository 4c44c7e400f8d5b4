package dev.dsaedge.demo.logic;

/** Numbers of steps; a long series keeps every second, fourth, … of them. */
final class Series {
    private static final int MOST = 512; // points; more than a phone is wide in dp

    private final int[] steps = new int[MOST];
    private final double[] values = new double[MOST];
    private int size;
    private int seen;
    private int every = 1;

    /** Adds a number; what is none is left out. */
    void add(int step, double value) {
        if (Double.isNaN(value) || Double.isInfinite(value) || seen++ % every != 0) {
            return;
        }
        if (size == MOST) {
            thin();
        }
        steps[size] = step;
        values[size++] = value;
    }

    void clear() {
        size = 0;
        seen = 0;
        every = 1;
    }

    double first() {
        return size == 0 ? Double.NaN : values[0];
    }

    /** The largest number, 0 if there is none. */
    double most() {
        double top = 0;
        for (int i = 0; i < size; i++) {
            top = Math.max(top, values[i]);
        }
        return top;
    }

    /** x0, y0, x1, y1, …: a step is `right` wide, and a value of 1 is `up` above the bottom. */
    float[] points(double right, double up, double bottom) {
        float[] points = new float[2 * size];
        for (int i = 0; i < size; i++) {
            points[2 * i] = (float) (right * steps[i]);
            points[2 * i + 1] = (float) (bottom - up * values[i]);
        }
        return points;
    }

    private void thin() {
        for (int i = 0; 2 * i < MOST; i++) {
            steps[i] = steps[2 * i];
            values[i] = values[2 * i];
        }
        size = MOST / 2;
        every *= 2;
    }
}
