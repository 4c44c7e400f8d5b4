package android.widget;

import android.content.Context;
import android.text.Editable;

/** A field. */
public class EditText extends TextView {
    public EditText(Context context) {
        super(context);
    }

    @Override
    public Editable getText() {
        final String now = String.valueOf(text);
        return new Editable() {
            @Override
            public char charAt(int place) {
                return now.charAt(place);
            }

            @Override
            public int length() {
                return now.length();
            }

            @Override
            public CharSequence subSequence(int start, int end) {
                return now.substring(start, end);
            }

            @Override
            public String toString() {
                return now;
            }
        };
    }
}
