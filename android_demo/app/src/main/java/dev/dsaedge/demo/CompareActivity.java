package dev.dsaedge.demo;

import android.widget.EditText;
import android.widget.TextView;

import dev.dsaedge.demo.logic.Session;

/** The same text for the phone as it was installed, and as it is now. */
public final class CompareActivity extends ScreenActivity {
    private EditText text;
    private TextView before;
    private TextView after;

    @Override
    void build(Page page) {
        text = page.field(getString(R.string.compare_hint));
        page.button(getString(R.string.compare_label), new Click() {
            @Override
            void clicked() {
                compare(true);
            }
        });
        page.button(getString(R.string.compare_write), new Click() {
            @Override
            void clicked() {
                compare(false);
            }
        });
        before = page.text("");
        after = page.text("");
    }

    @Override
    void refresh() {}

    private void compare(final boolean label) {
        final String typed = text.getText().toString();
        before.setText(R.string.working);
        after.setText("");
        work(new Worker.Task<Session.Pair>() {
            @Override
            public Session.Pair run() {
                return label ? app().session().label(typed) : app().session().write(typed);
            }
        }, new Shown<Session.Pair>() {
            @Override
            public void show(Session.Pair pair) {
                before.setText(getString(R.string.before, pair.before));
                after.setText(getString(R.string.after, pair.version, pair.after));
            }
        });
    }
}
