package dev.dsaedge.demo;

import android.app.AlertDialog;
import android.content.DialogInterface;
import android.text.format.Formatter;
import android.widget.TextView;

import dev.dsaedge.demo.logic.Stored;

/** States what is stored, where and how, and forgets it. */
public final class StoredActivity extends ScreenActivity {
    private TextView examples;
    private TextView store;
    private TextView bundle;

    @Override
    void build(Page page) {
        page.text(getString(R.string.stored_where));
        examples = page.text("");
        store = page.text("");
        bundle = page.text("");
        page.text(getString(R.string.stored_choices));
        page.text(getString(R.string.stored_backup));
        page.button(getString(R.string.forget), new Click() {
            @Override
            void clicked() {
                ask();
            }
        });
    }

    @Override
    void refresh() {
        work(new Worker.Task<Stored>() {
            @Override
            public Stored run() {
                return app().session().stored();
            }
        }, new Shown<Stored>() {
            @Override
            public void show(Stored stored) {
                examples.setText(getString(R.string.stored_examples, stored.examples,
                        size(stored.exampleBytes)));
                store.setText(getString(R.string.stored_store, stored.versions,
                        size(stored.storeBytes)));
                bundle.setText(getString(R.string.stored_bundle, size(stored.bundleBytes)));
            }
        });
    }

    private String size(long bytes) {
        return Formatter.formatShortFileSize(this, bytes);
    }

    private void ask() {
        new AlertDialog.Builder(this)
                .setMessage(R.string.forget_sure)
                .setNegativeButton(R.string.cancel, null)
                .setPositiveButton(R.string.forget, new DialogInterface.OnClickListener() {
                    @Override
                    public void onClick(DialogInterface dialog, int which) {
                        forget();
                    }
                })
                .show();
    }

    private void forget() {
        app().learning().curve().clear();
        work(new Worker.Task<Boolean>() {
            @Override
            public Boolean run() {
                app().session().forget();
                return true;
            }
        }, new Shown<Boolean>() {
            @Override
            public void show(Boolean done) {
                say(getString(R.string.forgotten));
                refresh();
            }
        });
    }
}
