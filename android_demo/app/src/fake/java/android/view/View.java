package android.view;

import android.content.Context;
import android.content.res.Resources;
import android.graphics.Canvas;

/** A view that can be clicked, drawn and read out. */
public class View {
    public static final int ACCESSIBILITY_LIVE_REGION_POLITE = 1;

    private final Context context;
    private CharSequence description;
    private boolean enabled = true;
    private OnClickListener listener;

    public View(Context context) {
        this.context = context;
    }

    /** See View. */
    public interface OnClickListener {
        void onClick(View view);
    }

    /** As a finger does: nothing while it is disabled. */
    public void click() {
        if (enabled && listener != null) {
            listener.onClick(this);
        }
    }

    /** What is drawn. */
    public final Canvas drawn() {
        Canvas canvas = new Canvas();
        onDraw(canvas);
        return canvas;
    }

    protected void onDraw(Canvas canvas) {}

    protected void onMeasure(int width, int height) {}

    protected final void setMeasuredDimension(int width, int height) {}

    protected int getSuggestedMinimumWidth() {
        return 0;
    }

    protected int getSuggestedMinimumHeight() {
        return 0;
    }

    public static int getDefaultSize(int size, int spec) {
        return size;
    }

    public static int resolveSize(int size, int spec) {
        return size;
    }

    public final Context getContext() {
        return context;
    }

    public final Resources getResources() {
        return context.getResources();
    }

    public final int getWidth() {
        return 100;
    }

    public final int getHeight() {
        return 50;
    }

    public void invalidate() {}

    public void setMinimumHeight(int pixels) {}

    public void setPadding(int left, int top, int right, int bottom) {}

    public void setFitsSystemWindows(boolean fits) {}

    public void setAccessibilityLiveRegion(int mode) {}

    public void setContentDescription(CharSequence text) {
        description = text;
    }

    public CharSequence getContentDescription() {
        return description;
    }

    public void setEnabled(boolean enabled) {
        this.enabled = enabled;
    }

    public boolean isEnabled() {
        return enabled;
    }

    public void setOnClickListener(OnClickListener listener) {
        this.listener = listener;
    }
}
