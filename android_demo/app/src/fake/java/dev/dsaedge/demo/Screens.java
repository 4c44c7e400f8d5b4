package dev.dsaedge.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ContentResolver;
import android.content.Context;
import android.content.Intent;
import android.net.Uri;
import android.os.Looper;
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

/** A folder, an app over a stand-in for Android (src/fake), and what tests of screens do with them. */
abstract class Screens extends Folder {
    DemoApplication app;

    Screens() {
        Looper.clear(); // of a test that failed
        Context.JOBS.asked = null;
        AlertDialog.shown = null;
        Toast.last = "";
        ContentResolver.withdrawn = false;
        ContentResolver.gone = false;
        start(folder);
    }

    /** As a new process over these files. */
    final void start(File files) {
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

    /** Steps take long enough to act in the middle of learning. */
    final void prepareSlow() throws Exception {
        File slow = new File(folder, "slow");
        Check.that(slow.mkdir(), "a folder");
        start(slow);
        prepare();
    }

    final void prepare() throws Exception {
        bring(launch(new HomeActivity()), zip("manifest.json"));
        app.session().examples().add(Draft.labelled("two hours wasted", 0));
        app.session().examples().add(Draft.labelled("a joy", 1));
    }

    final void learn() throws Exception {
        Activity screen = launch(new LearnActivity());
        Views.button(screen, "Learn from labelled texts").click();
        while (app.session().learning() || !Views.shown(screen, "improved")) {
            Looper.runNext();
        }
    }

    final void bring(Activity home, byte[] zip) throws Exception {
        Views.button(home, "Import a bundle").click();
        ContentResolver.content = zip;
        home.answer(1, Activity.RESULT_OK, new Intent(new Uri()));
        settle(2);
    }

    final Activity launch(Activity screen) {
        screen.launch(app);
        return screen;
    }

    static void settle(int actions) throws Exception {
        for (int i = 0; i < actions; i++) {
            Looper.runNext();
        }
    }

    static byte[] zip(String name) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ZipOutputStream out = new ZipOutputStream(bytes);
        out.putNextEntry(new ZipEntry(name));
        out.write("{}".getBytes("UTF-8"));
        out.close();
        return bytes.toByteArray();
    }
}
