package android.widget;

import android.content.Context;

/** See CompoundButton. */
public class Switch extends CompoundButton {
    public Switch(Context context) {
        super(context);
    }
}
