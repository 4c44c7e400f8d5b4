package dev.dsaedge.demo;

import android.widget.Button;
import android.widget.TextView;

import dev.dsaedge.Conditions;

/** Learn now and watch the loss fall, or leave it to the night. */
public final class LearnActivity extends ScreenActivity implements Learning.Watcher {
    private static final int STEPS_NOW = 100;

    private TextView status;
    private LossView view;
    private Button labels;
    private Button responses;
    private Button stop;

    @Override
    void build(Page page) {
        view = page.add(new LossView(this, app().learning().curve()));
        status = page.text("");
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
        labels.setEnabled(!learning);
        responses.setEnabled(!learning);
        stop.setEnabled(learning);
        status.setText(app().learning().status());
        view.update();
    }

    private void learn(boolean labelled) {
        app().session().goal().set(STEPS_NOW);
        app().learning().begin(labelled, Conditions.none(), new Learning.Ended() {
            @Override
            public void ended(boolean more) {}
        });
        labels.setEnabled(false);
        responses.setEnabled(false);
    }

    private void later() {
        say(getString(LearnService.schedule(this)
                ? R.string.learn_later_set : R.string.learn_later_refused));
    }
}
