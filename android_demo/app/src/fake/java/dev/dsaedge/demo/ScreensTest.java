package dev.dsaedge.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.app.job.JobParameters;
import android.content.ContentResolver;
import android.content.Context;
import android.content.Intent;
import android.net.Uri;
import android.os.Looper;
import android.view.View;
import android.view.ViewGroup;
import android.widget.Button;
import android.widget.EditText;
import android.widget.Toast;

import dev.dsaedge.Check;
import dev.dsaedge.Folder;
import dev.dsaedge.KeyProvider;
import dev.dsaedge.demo.logic.Draft;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.util.Arrays;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** What a person sees and clicks, screen by screen, over a stand-in for Android (src/fake). */
public final class ScreensTest extends Folder {
    private DemoApplication app;

    public ScreensTest() {
        Looper.clear(); // of a test that failed
        Context.JOBS.asked = null;
        AlertDialog.shown = null;
        Toast.last = "";
        start(folder);
    }

    /** As a new process over these files. */
    private void start(File files) {
        Context.files = files;
        app = new DemoApplication() {
            @Override
            KeyProvider keys() {
                return new KeyProvider() {
                    @Override
                    public byte[] key(String store, byte[] salt, boolean newStore) {
                        byte[] key = new byte[KEY_BYTES];
                        Arrays.fill(key, (byte) 7);
                        return key;
                    }
                };
            }
        };
        app.onCreate();
    }

    @Override
    public void close() {
        app.session().close();
        super.close();
    }

    public void theFirstStartSaysWhatToDo() throws Exception {
        Activity home = launch(new HomeActivity());
        Views.shows(home, "Simulated runner");
        Views.shows(home, "No bundle yet");
        Views.button(home, "Examples").click();
        Check.equal(ExamplesActivity.class, home.started.get(0).screen);
    }

    public void importsABundle() throws Exception {
        Activity home = launch(new HomeActivity());
        bring(home, zip("manifest.json"));
        Views.shows(home, "Version 0 is in use. 0 examples.");
    }

    public void aFileThatIsNoBundleIsRefused() throws Exception {
        Activity home = launch(new HomeActivity());
        Views.button(home, "Import a bundle").click();
        ContentResolver.content = zip("photo.jpg");
        home.answer(1, Activity.RESULT_OK, new Intent(new Uri()));
        Looper.runNext();
        Check.that(Toast.last.contains("no manifest.json"), Toast.last);
    }

    public void writesLabelsAndRemovesExamples() throws Exception {
        Activity screen = launch(new ExamplesActivity());
        Looper.runNext();
        Views.shows(screen, "No examples yet.");
        Views.type(screen, 0, "two hours wasted");
        Views.button(screen, "Add as “terrible”").click();
        settle(2);
        Views.shows(screen, "two hours wasted → terrible");
        Views.type(screen, 0, "Dear team,");
        Views.type(screen, 1, "all done.");
        Views.button(screen, "Add prompt and response").click();
        settle(2);
        Views.shows(screen, "Dear team, → all done.");
        Views.labelled(screen, "Remove the example: Dear team, → all done.").click();
        settle(2);
        Check.equal(1, app.session().examples().all().size());
        Views.button(screen, "Add as “great”").click();
        Check.that(Toast.last.contains("the text is empty"), Toast.last);
    }

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

    public void learningWithoutExamplesSaysWhatToDo() throws Exception {
        prepare();
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn from responses").click();
        Looper.runNext();
        Views.shows(screen, "add some first");
        Check.that(Views.button(screen, "Learn from labelled texts").isEnabled(), "another try");
    }

    public void comparesBeforeAndAfter() throws Exception {
        prepare();
        learn();
        Activity screen = launch(new CompareActivity());
        Views.type(screen, 0, "a joy");
        Views.button(screen, "Label it").click();
        Looper.runNext();
        Views.shows(screen, "Before: terrible (75 %)");
        Views.shows(screen, "After (version 1): great (75 %)");
        Views.button(screen, "Continue it").click();
        Looper.runNext();
        Views.shows(screen, "After (version 1): a joy");
    }

    public void rollsBack() throws Exception {
        prepare();
        learn();
        Activity screen = launch(new VersionsActivity());
        Looper.runNext();
        Views.shows(screen, "Version 1: improved, 100 steps. In use.");
        Views.button(screen, "Use version 0").click();
        settle(2);
        Views.shows(screen, "Version 0: as it was installed. In use.");
        Check.equal(0, app.session().version());
    }

    public void statesWhatIsStoredAndForgetsIt() throws Exception {
        prepare();
        learn();
        Activity screen = launch(new StoredActivity());
        Looper.runNext();
        Views.shows(screen, "Your examples: 2,");
        Views.shows(screen, "1 versions and the journal");
        Views.button(screen, "Forget everything learned").click();
        Check.equal(2, app.session().examples().all().size()); // only once it is confirmed
        AlertDialog.shown.positive.onClick(null, 0);
        settle(2);
        Check.that(Toast.last.contains("Forgotten"), Toast.last);
        Views.shows(screen, "Your examples: 0,");
        Check.equal(0, app.session().version());
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

    public void everyControlHasAWordForScreenReaders() throws Exception {
        prepare();
        for (Activity screen : new Activity[] {new HomeActivity(), new ExamplesActivity(),
            new LearnActivity(), new CompareActivity(), new VersionsActivity(),
            new StoredActivity()}) {
            launch(screen);
            if (!(screen instanceof LearnActivity || screen instanceof CompareActivity)) {
                Looper.runNext();
            }
            for (View control : Views.find(screen, View.class, "")) {
                boolean named = control instanceof ViewGroup || !Views.words(control).isEmpty();
                Check.that(named || !(control instanceof Button || control instanceof EditText
                        || control instanceof LossView), screen + " has a control without a word");
            }
        }
    }

    /** Steps take long enough to act in the middle of learning. */
    private void prepareSlow() throws Exception {
        File slow = new File(folder, "slow");
        Check.that(slow.mkdir(), "a folder");
        start(slow);
        prepare();
    }

    private void prepare() throws Exception {
        bring(launch(new HomeActivity()), zip("manifest.json"));
        app.session().examples().add(Draft.labelled("two hours wasted", 0));
        app.session().examples().add(Draft.labelled("a joy", 1));
    }

    private void learn() throws Exception {
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn from labelled texts").click();
        while (app.session().learning() || !Views.shown(screen, "improved")) {
            Looper.runNext();
        }
    }

    private void bring(Activity home, byte[] zip) throws Exception {
        Views.button(home, "Import a bundle").click();
        ContentResolver.content = zip;
        home.answer(1, Activity.RESULT_OK, new Intent(new Uri()));
        settle(2);
    }

    private Activity launch(Activity screen) {
        screen.launch(app);
        return screen;
    }

    private static void settle(int actions) throws Exception {
        for (int i = 0; i < actions; i++) {
            Looper.runNext();
        }
    }

    private static byte[] zip(String name) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ZipOutputStream out = new ZipOutputStream(bytes);
        out.putNextEntry(new ZipEntry(name));
        out.write("{}".getBytes("UTF-8"));
        out.close();
        return bytes.toByteArray();
    }
}
