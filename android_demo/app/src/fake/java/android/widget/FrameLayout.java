package android.widget;

import android.content.Context;
import android.view.ViewGroup;

/** Views upon each other. */
public class FrameLayout extends ViewGroup {
    public FrameLayout(Context context) {
        super(context);
    }
}
