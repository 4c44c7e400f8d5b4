package dev.dsaedge.demo.logic;

import dev.dsaedge.BundleException;
import dev.dsaedge.Check;
import dev.dsaedge.Conditions;
import dev.dsaedge.Device;
import dev.dsaedge.DeviceState;
import dev.dsaedge.ExampleException;
import dev.dsaedge.Folder;
import dev.dsaedge.LearningJob;
import dev.dsaedge.Progress;
import dev.dsaedge.ProgressListener;
import dev.dsaedge.UsageException;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** What a person does with the app, from the import to forgetting, without a screen. */
public final class SessionTest extends Folder {
    private final Session session = session();

    @Override
    public void close() {
        session.close();
        super.close();
    }

    public void fromTheImportToForgetting() throws Exception {
        session.importBundle(bundle());
        session.examples().add(Draft.labelled("two hours wasted", 0));
        session.examples().add(Draft.labelled("a joy", 1));
        session.goal().set(10);
        Check.equal(0, learn(true, null).left);
        Session.Pair pair = session.label("a joy");
        Check.equal("terrible (75 %)", pair.before);
        Check.equal("1: great (75 %)", pair.version + ": " + pair.after);
        Check.equal("a joy", session.write("a joy").after);
        Stored stored = session.stored();
        Check.equal("2 1", stored.examples + " " + stored.versions);
        Check.that(stored.exampleBytes > 0 && stored.bundleBytes == 2, "sizes are told");
        session.rollback(0);
        Check.equal("terrible (75 %)", session.label("a joy").after);
        session.forget();
        Check.equal("0 0 0", session.stored().examples + " " + session.stored().versions + " "
                + session.goal().wanted());
        Check.that(session.hasBundle(), "the bundle stays");
    }

    public void goesOnWithTheGoalInTheNextProcess() throws Exception {
        session.importBundle(bundle());
        session.examples().add(Draft.written("Dear team,", " all done."));
        session.goal().set(10);
        LearningJob.Slice slice = learn(false, new ProgressListener() {
            @Override
            public boolean onProgress(Progress progress) {
                if (progress.phase == Progress.STEP && progress.done == 4) {
                    session.stop();
                }
                return true;
            }
        });
        Check.equal(6, slice.left);
        session.close();
        Session next = session();
        Check.equal(6, next.goal().left());
        Check.equal(1, next.examples().all().size());
        next.close();
    }

    public void nothingWaitsForALongFit() throws Exception {
        session.importBundle(bundle());
        session.examples().add(Draft.labelled("a joy", 1));
        session.goal().set(100);
        final Throwable[] seen = new Throwable[1];
        learn(true, new ProgressListener() {
            @Override
            public boolean onProgress(Progress progress) {
                seen[0] = inAnotherThread();
                session.examples().add(Draft.labelled("while learning", 1));
                return progress.phase == Progress.PROMPTS;
            }
        });
        Check.that(seen[0] instanceof UsageException, "got " + seen[0]);
        Check.equal(3, session.examples().all().size());
        Check.that(!session.learning(), "it is over");
    }

    public void aBadBundleLeavesTheGoodOne() throws Exception {
        session.importBundle(bundle());
        Check.raises(BundleException.class, "no manifest.json", new Check.Work() {
            @Override
            public void run() {
                session.importBundle(new ByteArrayInputStream(new byte[0]));
            }
        });
        Check.equal(0, session.version());
        Check.that(!new File(folder, "bundle.dsa.import").exists(), "nothing is left behind");
    }

    public void withoutABundleItSaysWhatToDo() {
        Check.raises(BundleException.class, "import one first", new Check.Work() {
            @Override
            public void run() {
                session.label("a");
            }
        });
        session.forget();
        Check.equal(0, session.stored().versions);
    }

    public void withoutExamplesItSaysWhatToDo() throws Exception {
        session.importBundle(bundle());
        session.examples().add(Draft.labelled("a joy", 1));
        session.goal().set(10);
        Check.raises(ExampleException.class, "add some first", new Check.Work() {
            @Override
            public void run() {
                learn(false, null);
            }
        });
        Check.that(!session.learning(), "it is over");
    }

    private Session session() {
        return new Session(folder, new SealedFileTest.Keys(7));
    }

    private LearningJob.Slice learn(boolean labelled, ProgressListener listener) {
        return session.learn(labelled, new Device() {
            @Override
            public DeviceState read() {
                return new DeviceState(true, 80, 30, 0);
            }
        }, Conditions.gentle(), listener);
    }

    private Throwable inAnotherThread() {
        final Throwable[] seen = new Throwable[1];
        Thread other = new Thread() {
            @Override
            public void run() {
                try {
                    session.history();
                } catch (UsageException error) {
                    seen[0] = error;
                }
            }
        };
        other.start();
        try {
            other.join();
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
        return seen[0];
    }

    private static ByteArrayInputStream bundle() throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ZipOutputStream out = new ZipOutputStream(bytes);
        out.putNextEntry(new ZipEntry("manifest.json"));
        out.write("{}".getBytes("UTF-8"));
        out.close();
        return new ByteArrayInputStream(bytes.toByteArray());
    }
}
