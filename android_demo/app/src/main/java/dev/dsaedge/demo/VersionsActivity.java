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
                list.removeAllViews();
                for (Version version : versions) {
                    addRow(version);
                }
            }
        });
    }

    private void addRow(final Version version) {
        String told = version.id == 0 ? getString(R.string.version_initial)
                : getString(R.string.version_row, version.id, version.verdict, version.steps);
        TextView row = new TextView(this);
        row.setText(version.active ? getString(R.string.version_active, told) : told);
        list.addView(row);
        if (version.active) {
            return;
        }
        Button use = new Button(this);
        use.setText(getString(R.string.use_version, version.id));
        use.setOnClickListener(new Click() {
            @Override
            void clicked() {
                use(version.id);
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
