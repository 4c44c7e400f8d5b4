package android.widget;

import android.content.Context;

/** A button with two states. */
public abstract class CompoundButton extends Button {
    private boolean checked;

    public CompoundButton(Context context) {
        super(context);
    }

    @Override
    public final void click() {
        checked ^= isEnabled();
        super.click();
    }

    public boolean isChecked() {
        return checked;
    }

    public void setChecked(boolean checked) {
        this.checked = checked;
    }
}
