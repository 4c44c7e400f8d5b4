package dev.dsaedge.demo;

import android.widget.Button;
import android.widget.EditText;
import android.widget.LinearLayout;
import android.widget.TextView;

import dev.dsaedge.DsaEdgeException;
import dev.dsaedge.demo.logic.Draft;

import java.util.List;

/** Write examples, or label texts; each is on the storage, sealed, before the field is emptied. */
public final class ExamplesActivity extends ScreenActivity {
    private EditText text;
    private EditText response;
    private LinearLayout list;

    @Override
    void build(Page page) {
        text = page.field(getString(R.string.text_hint));
        addLabel(page, 0);
        addLabel(page, 1);
        response = page.field(getString(R.string.response_hint));
        page.button(getString(R.string.add_response), new Click() {
            @Override
            void clicked() {
                add(Draft.NO_LABEL);
            }
        });
        list = page.list();
    }

    @Override
    void refresh() {
        work(new Worker.Task<List<Draft>>() {
            @Override
            public List<Draft> run() {
                return app().session().examples().all();
            }
        }, new Shown<List<Draft>>() {
            @Override
            public void show(List<Draft> drafts) {
                fill(drafts);
            }
        });
    }

    private void addLabel(Page page, final int label) {
        page.button(getString(R.string.label_as, nameOf(label)), new Click() {
            @Override
            void clicked() {
                add(label);
            }
        });
    }

    private String nameOf(int label) {
        return getString(label == 0 ? R.string.label_terrible : R.string.label_great);
    }

    private void add(int label) {
        final Draft draft;
        try {
            String typed = text.getText().toString();
            draft = label == Draft.NO_LABEL
                    ? Draft.written(typed, response.getText().toString())
                    : Draft.labelled(typed, label);
        } catch (DsaEdgeException error) {
            say(error.getMessage());
            return;
        }
        work(new Worker.Task<Boolean>() {
            @Override
            public Boolean run() {
                app().session().examples().add(draft);
                return true;
            }
        }, new Shown<Boolean>() {
            @Override
            public void show(Boolean done) {
                text.setText("");
                response.setText("");
                refresh();
            }
        });
    }

    private void fill(List<Draft> drafts) {
        list.removeAllViews();
        if (drafts.isEmpty()) {
            TextView none = new TextView(this);
            none.setText(R.string.no_examples);
            list.addView(none);
        }
        for (int place = drafts.size() - 1; place >= 0; place--) {
            addRow(place, drafts.get(place));
        }
    }

    private void addRow(final int place, Draft draft) {
        String shown = getString(R.string.labelled_row, draft.text,
                draft.isLabelled() ? nameOf(draft.label) : draft.response);
        TextView row = new TextView(this);
        row.setText(shown);
        list.addView(row);
        Button remove = new Button(this);
        remove.setText(R.string.remove);
        remove.setContentDescription(getString(R.string.remove_example, shown));
        remove.setOnClickListener(new Click() {
            @Override
            void clicked() {
                remove(place);
            }
        });
        list.addView(remove);
    }

    private void remove(final int place) {
        work(new Worker.Task<Boolean>() {
            @Override
            public Boolean run() {
                app().session().examples().remove(place);
                return true;
            }
        }, new Shown<Boolean>() {
            @Override
            public void show(Boolean done) {
                refresh();
            }
        });
    }
}
