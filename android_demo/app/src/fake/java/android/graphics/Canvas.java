package android.graphics;

/** Counts what is drawn. */
public class Canvas {
    public int lines;
    public int circles;

    public void drawLine(float x0, float y0, float x1, float y1, Paint paint) {
        lines++;
    }

    public void drawCircle(float x, float y, float radius, Paint paint) {
        circles++;
    }
}
