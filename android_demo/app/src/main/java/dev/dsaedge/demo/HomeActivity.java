package dev.dsaedge.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.widget.TextView;

import dev.dsaedge.Personalizer;
import dev.dsaedge.StoreException;

import java.io.FileNotFoundException;
import java.io.InputStream;

/** The way to all screens, and the import of a bundle. */
public final class HomeActivity extends ScreenActivity {
    private static final int PICK = 1;

    private TextView status;

    @Override
    void build(Page page) {
        page.text(Personalizer.isAvailable()
                ? simulated() : getString(R.string.no_runner));
        status = page.text("");
        page.button(getString(R.string.import_bundle), new Click() {
            @Override
            void clicked() {
                pick();
            }
        });
        link(page, R.string.examples_title, ExamplesActivity.class);
        link(page, R.string.learn_title, LearnActivity.class);
        link(page, R.string.compare_title, CompareActivity.class);
        link(page, R.string.versions_title, VersionsActivity.class);
        link(page, R.string.stored_title, StoredActivity.class);
    }

    @Override
    void refresh() {
        if (!app().session().hasBundle()) {
            status.setText(R.string.no_bundle);
            return;
        }
        if (app().session().learning()) {
            status.setText(R.string.learning);
            return;
        }
        work(new Worker.Task<String>() {
            @Override
            public String run() {
                return getString(R.string.bundle_ready, app().session().version(),
                        app().session().examples().all().size());
            }
        }, new Shown<String>() {
            @Override
            public void show(String text) {
                status.setText(text);
            }
        });
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (request == PICK && result == RESULT_OK && data != null && data.getData() != null) {
            status.setText(R.string.importing);
            bring(data.getData());
        }
    }

    @Override
    void failed() {
        status.setText(""); // it imports no longer
    }

    private String simulated() {
        return Personalizer.isSimulated() ? getString(R.string.simulated) : "";
    }

    private void link(Page page, int title, final Class<? extends Activity> screen) {
        page.button(getString(title), new Click() {
            @Override
            void clicked() {
                startActivity(new Intent(HomeActivity.this, screen));
            }
        });
    }

    /** The system's own picker: the app needs no permission to read files. */
    private void pick() {
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType("application/zip");
        try {
            startActivityForResult(intent, PICK);
        } catch (ActivityNotFoundException error) {
            say(getString(R.string.no_picker));
        }
    }

    private void bring(final Uri zip) {
        work(new Worker.Task<Boolean>() {
            @Override
            public Boolean run() throws Exception {
                InputStream in = opened(zip);
                try {
                    app().session().importBundle(in);
                } finally {
                    in.close();
                }
                return true;
            }
        }, new Shown<Boolean>() {
            @Override
            public void show(Boolean done) {
                refresh();
            }
        });
    }

    /** The permission that came with the choice may be gone by now, or the file. */
    private InputStream opened(Uri zip) {
        InputStream in = null;
        try {
            in = getContentResolver().openInputStream(zip);
        } catch (FileNotFoundException gone) {
            // told below
        } catch (SecurityException withdrawn) {
            // told below
        }
        if (in == null) { // as of an app that crashed
            throw new StoreException(getString(R.string.import_unreadable));
        }
        return in;
    }
}
