package android.widget;

import android.content.Context;

/** A view that scrolls. */
public class ScrollView extends FrameLayout {
    public ScrollView(Context context) {
        super(context);
    }
}
