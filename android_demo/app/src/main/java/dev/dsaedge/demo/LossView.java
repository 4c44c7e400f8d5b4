package dev.dsaedge.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.view.View;

import dev.dsaedge.Progress;
import dev.dsaedge.demo.logic.LossCurve;

/** The falling loss: of the steps as a line, of the held-out examples as dots. */
final class LossView extends View {
    private static final float DOT = 3; // dp

    private final LossCurve curve;
    private final Paint line = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final Paint dots = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final float density;

    LossView(Context context, LossCurve curve) {
        super(context);
        this.curve = curve;
        density = getResources().getDisplayMetrics().density;
        line.setColor(context.getColor(R.color.accent));
        line.setStrokeWidth(2 * density);
        dots.setColor(context.getColor(R.color.held_out));
        setMinimumHeight(getResources().getDimensionPixelSize(R.dimen.curve));
        update();
    }

    /** Draws what the curve has now, and tells it to screen readers. */
    void update() {
        setContentDescription(told(curve.last()));
        invalidate();
    }

    private String told(Progress last) {
        if (last == null) {
            return getContext().getString(R.string.curve_empty);
        }
        return Double.isNaN(last.loss)
                ? getContext().getString(R.string.step_privately, last.done)
                : getContext().getString(R.string.curve_label, curve.first(), last.loss, last.done);
    }

    @Override
    protected void onMeasure(int width, int height) {
        setMeasuredDimension(getDefaultSize(getSuggestedMinimumWidth(), width),
                resolveSize(getSuggestedMinimumHeight(), height));
    }

    @Override
    protected void onDraw(Canvas canvas) {
        float[] steps = curve.points(getWidth(), getHeight(), false);
        for (int i = 2; i + 1 < steps.length; i += 2) {
            canvas.drawLine(steps[i - 2], steps[i - 1], steps[i], steps[i + 1], line);
        }
        float[] heldOut = curve.points(getWidth(), getHeight(), true);
        for (int i = 0; i + 1 < heldOut.length; i += 2) {
            canvas.drawCircle(heldOut[i], heldOut[i + 1], DOT * density, dots);
        }
    }
}
