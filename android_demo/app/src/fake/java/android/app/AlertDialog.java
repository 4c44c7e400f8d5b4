package android.app;

import android.content.Context;
import android.content.DialogInterface;

/** The last dialog that was shown waits for its button. */
public class AlertDialog {
    public static AlertDialog shown;

    public DialogInterface.OnClickListener positive;

    /** See AlertDialog. */
    public static class Builder {
        private final AlertDialog dialog = new AlertDialog();

        public Builder(Context context) {}

        public Builder setMessage(int text) {
            return this;
        }

        public Builder setNegativeButton(int text, DialogInterface.OnClickListener listener) {
            return this;
        }

        public Builder setPositiveButton(int text, DialogInterface.OnClickListener listener) {
            dialog.positive = listener;
            return this;
        }

        public AlertDialog show() {
            shown = dialog;
            return dialog;
        }
    }
}
