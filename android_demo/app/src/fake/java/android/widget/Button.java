package android.widget;

import android.content.Context;

/** A text to click. */
public class Button extends TextView {
    public Button(Context context) {
        super(context);
    }
}
