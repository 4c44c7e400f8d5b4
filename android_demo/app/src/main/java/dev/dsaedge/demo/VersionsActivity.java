package dev.dsaedge.demo;

import android.widget.Button;
import android.widget.LinearLayout;
import android.widget.TextView;

import dev.dsaedge.Version;

import java.util.List;

/** All versions, and the way back to each. */
public final class VersionsActivity extends ScreenActivity {
    private LinearLayout list;

    @Override
    void build(Page page) {
        list = page.list();
    }

    @Override
    void refresh() {
        work(new Worker.Task<List<Version>>() {
            @Override
            public List<Version> run() {
                return app().session().history();
            }
        }, new Shown<List<Version>>() {
            @Override
            public void show(List<Version> versions) {
                fill(versions);
            }
        });
    }

    private void fill(List<Version> versions) {
        list.removeAllViews();
        boolean learned = false;
        for (Version version : versions) {
            learned |= version.active;
        }
        addRow(0, getString(R.string.version_initial), !learned);
        for (Version version : versions) {
            addRow(version.id, getString(R.string.version_row, version.id, version.verdict,
                    version.steps), version.active);
        }
    }

    private void addRow(final int id, String told, boolean active) {
        TextView row = new TextView(this);
        row.setText(active ? getString(R.string.version_active, told) : told);
        list.addView(row);
        if (active) {
            return;
        }
        Button use = new Button(this);
        use.setText(getString(R.string.use_version, id));
        use.setOnClickListener(new Click() {
            @Override
            void clicked() {
                use(id);
            }
        });
        list.addView(use);
    }

    private void use(final int version) {
        work(new Worker.Task<Boolean>() {
            @Override
            public Boolean run() {
                app().session().rollback(version);
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
