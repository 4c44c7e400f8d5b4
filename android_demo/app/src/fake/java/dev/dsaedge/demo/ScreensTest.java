package dev.dsaedge.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ContentResolver;
import android.content.Intent;
import android.net.Uri;
import android.os.Looper;
import android.view.View;
import android.view.ViewGroup;
import android.widget.Button;
import android.widget.EditText;
import android.widget.Toast;

import dev.dsaedge.Check;

/** What a person sees and clicks, screen by screen. */
public final class ScreensTest extends Screens {
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

    public void aFileThatMayNoLongerBeReadLeavesTheBundle() throws Exception {
        Activity home = launch(new HomeActivity());
        bring(home, zip("manifest.json"));
        for (int how = 0; how < 3; how++) {
            Toast.last = "";
            Views.button(home, "Import a bundle").click();
            ContentResolver.withdrawn = how == 0;
            ContentResolver.gone = how == 1;
            ContentResolver.content = null;
            home.answer(1, Activity.RESULT_OK, new Intent(new Uri()));
            Looper.runNext();
            Check.that(Toast.last.contains("can no longer be read: choose it again"), Toast.last);
            Check.that(!Views.shown(home, "Importing"), "it is over");
        }
        home.leave();
        home = launch(new HomeActivity());
        Looper.runNext();
        Views.shows(home, "Version 0 is in use.");
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
}
