package dev.dsaedge.demo;

import android.app.Activity;
import android.app.job.JobParameters;
import android.content.Context;
import android.os.Looper;
import android.widget.Switch;
import android.widget.Toast;

import dev.dsaedge.Check;
import dev.dsaedge.demo.logic.Draft;

import java.io.File;

/** Learning now and at night, as a person sees it. */
public final class LearningTest extends Screens {
    public void learnsAndShowsTheLossFall() throws Exception {
        prepare();
        Activity screen = launch(new LearnActivity());
        LossView curve = (LossView) Views.find(screen, LossView.class, "").get(0);
        Views.shows(curve, "The loss shows here");
        Check.that(!Views.button(screen, "Stop after this step").isEnabled(), "nothing to stop");
        Views.button(screen, "Learn from labelled texts").click();
        Check.that(!Views.button(screen, "Learn from responses").isEnabled(), "one fit at a time");
        while (app.session().learning() || !Views.shown(screen, "improved")) {
            Looper.runNext();
        }
        Views.shows(screen, "improved after 100 steps: held-out loss 2.000 → 0.182. Version 1");
        Check.equal("99 20", curve.drawn().lines + " " + curve.drawn().circles);
        Views.shows(curve, "Loss from 1.818 down to 0.182 after 100 steps");
        Check.that(Views.button(screen, "Learn from responses").isEnabled(), "the next may begin");
    }

    public void aTurnOfThePhoneDoesNotStopLearning() throws Exception {
        prepareSlow();
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn from labelled texts").click();
        while (app.learning().curve().last() == null) {
            Looper.runNext();
        }
        screen.leave();
        Activity turned = launch(new LearnActivity());
        Check.that(Views.button(turned, "Stop after this step").isEnabled(), "it still learns");
        Views.button(turned, "Stop after this step").click();
        while (!Views.shown(turned, "improved after")) {
            Looper.runNext();
        }
    }

    public void stopsWhenTold() throws Exception {
        prepareSlow();
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn from labelled texts").click();
        while (app.learning().curve().last() == null) {
            Looper.runNext();
        }
        Views.button(screen, "Stop after this step").click();
        while (app.session().learning() || !Views.shown(screen, "improved")) {
            Looper.runNext();
        }
        Check.that(app.session().goal().left() > 0, "some steps are left for later");
    }

    public void learnsWithAGuaranteeOnceItIsChosen() throws Exception {
        prepare();
        choosePrivacy();
        start(folder); // the choice outlives the process
        Activity screen = launch(new LearnActivity());
        Switch choice = (Switch) Views.button(screen, "Learn with a guarantee of privacy");
        Check.that(choice.isChecked(), "still chosen");
        Views.button(screen, "Learn from labelled texts").click();
        settle(1);
        while (app.session().learning()) {
            Looper.runNext();
        }
        Views.shows(screen, "too few for a private fit: give more of them");
        app.session().examples().add(Draft.labelled("fine", 1));
        app.session().examples().add(Draft.labelled("a bore", 0));
        learn();
        screen = launch(new LearnActivity());
        Views.shows(screen, "Spent of the guarantee: ε 8.00 at δ 1e-05, as rdp counts.");
        Views.shows((LossView) Views.find(screen, LossView.class, "").get(0),
                "Step 100. The guarantee of privacy keeps its loss unseen.");
    }

    public void aFullDiskIsToldWhereverSomethingIsWritten() throws Exception {
        prepare();
        Activity screen = launch(new LearnActivity());
        for (String file : new String[] {"goal.new", "private"}) { // what cannot be written
            Check.that(new File(new File(folder, file), "in the way").mkdirs(), file);
        }
        Views.button(screen, "Learn from labelled texts").click();
        Check.that(Toast.last.contains("the goal cannot be written"), Toast.last);
        Toast.last = "";
        Views.button(screen, "Learn tonight").click();
        Check.that(Toast.last.contains("the goal cannot be written"), Toast.last);
        Check.equal(null, Context.JOBS.asked);
        Switch choice = (Switch) Views.button(screen, "Learn with a guarantee of privacy");
        choice.setChecked(true);
        choice.click();
        Check.that(Toast.last.contains("the choice of privacy cannot be written"), Toast.last);
        Check.that(choice.isChecked(), "as it was before");
    }

    public void learningWithoutExamplesSaysWhatToDo() throws Exception {
        prepare();
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn from responses").click();
        Looper.runNext();
        Views.shows(screen, "add some first");
        Check.that(Views.button(screen, "Learn from labelled texts").isEnabled(), "another try");
    }

    public void theNightJobWaitsForTheChargerAndGoesOnLater() throws Exception {
        prepareSlow();
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn tonight").click();
        Check.that(Context.JOBS.asked.charging && Context.JOBS.asked.idle, "charging and idle");
        LearnService service = new LearnService();
        service.owner = app;
        Check.that(service.onStartJob(new JobParameters()), "work goes on");
        while (app.learning().curve().last() == null) {
            Thread.sleep(1);
        }
        int done = app.learning().curve().last().done;
        Check.that(service.onStopJob(null), "the system should come back");
        while (service.reschedule == null) {
            Looper.runNext();
        }
        Check.equal(true, service.reschedule);
        int left = app.session().goal().left();
        Check.that(400 - left <= done + 2, "it ended within a step: " + (400 - left - done));
        service.reschedule = null;
        app.session().goal().add(left - 3);
        service.onStartJob(new JobParameters()); // the next night
        while (service.reschedule == null) {
            Looper.runNext();
        }
        Check.equal("false 0", service.reschedule + " " + app.session().goal().left());
        Check.equal(2, app.session().version());
    }

    public void aJobThatIsStoppedAtOnceLearnsNothing() throws Exception {
        prepare();
        LearnService service = new LearnService();
        service.owner = app;
        app.session().goal().set(10);
        service.onStartJob(null);
        Check.that(service.onStopJob(null), "the system should come back");
        while (service.reschedule == null) {
            Looper.runNext();
        }
        Check.that(app.session().goal().left() >= 9, "a step at most");
    }

    private void choosePrivacy() throws Exception {
        Activity screen = launch(new LearnActivity());
        Switch choice = (Switch) Views.button(screen, "Learn with a guarantee of privacy");
        Check.that(!choice.isChecked(), "it is a choice");
        choice.click();
        Check.that(app.session().isPrivate(), "chosen");
        choice.click();
        Check.that(!app.session().isPrivate(), "and back");
        choice.click();
    }
}
