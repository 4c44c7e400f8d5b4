package dev.dsaedge;

import java.io.File;
import java.io.FileOutputStream;

/** The goal outlives its process, and damage to its file is harmless. */
public final class GoalTest extends Folder {
    private final File file = new File(folder, "goal");

    public void survivesItsProcess() {
        Goal goal = new Goal(file);
        Check.equal(0, goal.left());
        goal.set(10);
        goal.add(4);
        Check.equal(6, new Goal(file).left());
        new Goal(file).add(100);
        Check.equal(0, new Goal(file).left());
        new Goal(file).clear();
        Check.equal(0, new Goal(file).wanted());
    }

    public void aDamagedFileIsNoGoal() throws Exception {
        new Goal(file).set(10);
        for (int length = 0; length < 8; length++) {
            write(new byte[length]);
            Check.equal(0, new Goal(file).left());
        }
        write(new byte[] {0, 0, 0, 1, 0, 0, 0, 2});
        Check.equal(0, new Goal(file).left());
        write(new byte[] {-1, 0, 0, 1, -2, 0, 0, 2});
        Check.equal(0, new Goal(file).left());
    }

    public void aFullStorageIsToldAndChangesNothing() {
        final Goal goal = new Goal(new File(folder, "gone/goal"));
        Check.raises(StoreException.class, "free some space", new Check.Work() {
            @Override
            public void run() {
                goal.set(1);
            }
        });
        Check.equal(0, goal.left());
    }

    private void write(byte[] content) throws Exception {
        FileOutputStream out = new FileOutputStream(file);
        out.write(content);
        out.close();
    }
}
