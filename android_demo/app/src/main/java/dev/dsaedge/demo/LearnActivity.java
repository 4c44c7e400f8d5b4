package dev.dsaedge.demo;

import android.widget.Button;
import android.widget.Switch;
import android.widget.TextView;

import dev.dsaedge.Conditions;
import dev.dsaedge.DsaEdgeException;

/** Learn now and watch the loss fall, or leave it to the night. */
public final class LearnActivity extends ScreenActivity implements Learning.Watcher {
    private static final int STEPS_NOW = 100;

    private TextView status;
    private Switch privately;
    private LossView view;
    private Button labels;
    private Button responses;
    private Button stop;

    @Override
    void build(Page page) {
        view = page.add(new LossView(this, app().learning().curve()));
        status = page.text("");
        privately = page.choice(getString(R.string.learn_privately), new Click() {
            @Override
            void clicked() {
                choose();
            }
        });
        page.text(getString(R.string.learn_privately_says));
        labels = page.button(getString(R.string.learn_labels), new Click() {
            @Override
            void clicked() {
                learn(true);
            }
        });
        responses = page.button(getString(R.string.learn_responses), new Click() {
            @Override
            void clicked() {
                learn(false);
            }
        });
        stop = page.button(getString(R.string.stop), new Click() {
            @Override
            void clicked() {
                app().learning().stop();
            }
        });
        page.button(getString(R.string.learn_later), new Click() {
            @Override
            void clicked() {
                later();
            }
        });
    }

    @Override
    void refresh() {
        app().learning().watch(this);
        changed();
    }

    @Override
    protected void onPause() {
        super.onPause();
        app().learning().watch(null);
    }

    @Override
    public void changed() {
        boolean learning = app().session().learning();
        privately.setChecked(app().session().isPrivate());
        privately.setEnabled(!learning);
        labels.setEnabled(!learning);
        responses.setEnabled(!learning);
        stop.setEnabled(learning);
        status.setText(app().learning().status());
        view.update();
    }

    private void choose() {
        try {
            app().session().setPrivate(privately.isChecked());
        } catch (DsaEdgeException error) {
            privately.setChecked(app().session().isPrivate());
            say(error.getMessage());
        }
    }

    private void learn(boolean labelled) {
        try {
            app().session().goal().set(STEPS_NOW);
        } catch (DsaEdgeException error) { // as for a full disk
            say(error.getMessage());
            return;
        }
        app().learning().begin(labelled, Conditions.none(), new Learning.Ended() {
            @Override
            public void ended(boolean more) {}
        });
        privately.setEnabled(false);
        labels.setEnabled(false);
        responses.setEnabled(false);
    }

    private void later() {
        try {
            say(getString(LearnService.schedule(this)
                    ? R.string.learn_later_set : R.string.learn_later_refused));
        } catch (DsaEdgeException error) {
            say(error.getMessage());
        }
    }
}
