package dev.dsaedge.demo;

import android.widget.Button;
import android.widget.TextView;

import dev.dsaedge.Conditions;
import dev.dsaedge.LearningJob;
import dev.dsaedge.Progress;
import dev.dsaedge.ProgressListener;
import dev.dsaedge.Report;
import dev.dsaedge.android.AndroidDevice;

/** Learn now and watch the loss fall, or leave it to the night. */
public final class LearnActivity extends ScreenActivity {
    private static final int STEPS_NOW = 100;

    private TextView status;
    private LossView view;
    private Button labels;
    private Button responses;
    private Button stop;

    @Override
    void build(Page page) {
        view = page.add(new LossView(this, app().curve()));
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
                app().session().stop();
            }
        });
        page.button(getString(R.string.learn_later), new Click() {
            @Override
            void clicked() {
                say(getString(LearnService.schedule(LearnActivity.this)
                        ? R.string.learn_later_set : R.string.learn_later_refused));
            }
        });
    }

    @Override
    void refresh() {
        show(app().session().learning());
    }

    private void show(boolean learning) {
        labels.setEnabled(!learning);
        responses.setEnabled(!learning);
        stop.setEnabled(learning);
        view.update();
    }

    private void learn(final boolean labelled) {
        show(true);
        status.setText(R.string.learning);
        app().curve().clear();
        app().worker().learn(new Worker.Task<LearningJob.Slice>() {
            @Override
            public LearningJob.Slice run() {
                app().session().goal().set(STEPS_NOW);
                return app().session().learn(labelled, new AndroidDevice(LearnActivity.this),
                        Conditions.none(), new Steps());
            }
        }, new Worker.Then<LearningJob.Slice>() {
            @Override
            public void done(LearningJob.Slice slice) {
                show(false);
                tell(slice);
            }

            @Override
            public void failed(String message) {
                show(false);
                status.setText(message);
            }
        });
    }

    private void tell(LearningJob.Slice slice) {
        if (!slice.unmet.isEmpty()) {
            status.setText(getString(R.string.waits, slice.unmet.toString()));
        }
        Report report = slice.report;
        if (report != null) {
            status.setText(getString(R.string.verdict, report.verdict, report.steps,
                    report.before.loss, report.after.loss, report.version));
        }
    }

    /** Draws each step; learning does not wait for the picture. */
    private final class Steps implements ProgressListener {
        @Override
        public boolean onProgress(final Progress progress) {
            app().curve().add(progress);
            app().worker().post(new Runnable() {
                @Override
                public void run() {
                    status.setText(progress.phase == Progress.STEP
                            ? getString(R.string.step, progress.done, progress.loss)
                            : getString(R.string.prompts, progress.done, progress.total));
                    view.update();
                }
            });
            return true;
        }
    }
}
