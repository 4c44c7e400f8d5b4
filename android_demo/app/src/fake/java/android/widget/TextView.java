package android.widget;

import android.content.Context;
import android.view.View;

/** A text. */
public class TextView extends View {
    protected CharSequence text = "";
    private CharSequence hint;

    public TextView(Context context) {
        super(context);
    }

    public final void setText(CharSequence content) {
        text = content;
    }

    public final void setText(int id) {
        text = getContext().getString(id);
    }

    public CharSequence getText() {
        return text;
    }

    public final void setHint(CharSequence content) {
        hint = content;
    }

    public CharSequence getHint() {
        return hint;
    }

    public void setAllCaps(boolean all) {}

    public void setMinHeight(int pixels) {}

    public void setInputType(int type) {}

    public void setImeOptions(int options) {}

    public void setTextAppearance(Context context, int id) {}

    public void setTextIsSelectable(boolean selectable) {}
}
