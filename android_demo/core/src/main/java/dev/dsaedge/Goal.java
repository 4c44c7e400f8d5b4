package dev.dsaedge;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;

/**
 * How many steps were asked for and how many are done, in a file that outlives the process.
 *
 * <p>A file that cannot be read counts as no goal: nothing learned is lost by that.
 */
public final class Goal {
    private final File file;
    private int wanted;
    private int done;

    /** Reads the goal of this file, if there is one. */
    public Goal(File file) {
        this.file = file;
        read();
    }

    /** Asks for so many steps from now on. Raises StoreException, UsageException. */
    public synchronized void set(int steps) {
        if (steps < 1) {
            throw new UsageException("a goal of " + steps + " steps, expected at least 1.");
        }
        keep(steps, 0);
    }

    /** Tells that so many more are done. Raises StoreException. */
    public synchronized void add(int steps) {
        keep(wanted, Math.min(wanted, done + steps));
    }

    /** Steps that are still to do. */
    public synchronized int left() {
        return wanted - done;
    }

    /** Steps that were asked for; 0 without a goal. */
    public synchronized int wanted() {
        return wanted;
    }

    /** No goal from now on. */
    public synchronized void clear() {
        file.delete();
        wanted = 0;
        done = 0;
    }

    private void read() {
        try {
            DataInputStream in = new DataInputStream(new FileInputStream(file));
            try {
                int first = in.readInt();
                int second = in.readInt();
                boolean valid = first >= 0 && second >= 0 && second <= first;
                wanted = valid ? first : 0;
                done = valid ? second : 0;
            } finally {
                in.close();
            }
        } catch (IOException none) { // not there, or cut short
            wanted = 0;
            done = 0;
        }
    }

    private void keep(int newWanted, int newDone) {
        File fresh = new File(file.getPath() + ".new");
        try {
            DataOutputStream out = new DataOutputStream(new FileOutputStream(fresh));
            try {
                out.writeInt(newWanted);
                out.writeInt(newDone);
            } finally {
                out.close();
            }
            if (!fresh.renameTo(file)) {
                throw new IOException("cannot rename " + fresh.getName());
            }
        } catch (IOException error) {
            throw new StoreException("the goal cannot be written (" + error.getMessage()
                    + "): free some space; what was learned is kept.");
        }
        wanted = newWanted;
        done = newDone;
    }
}
