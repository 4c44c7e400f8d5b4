package dev.dsaedge;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;

/** A folder of a test's own, deleted after it. */
public class Folder implements Closeable {
    protected final File folder;

    public Folder() {
        try {
            folder = File.createTempFile("dsaedge", "");
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        if (!folder.delete() || !folder.mkdir()) {
            throw new IllegalStateException("no folder " + folder);
        }
    }

    @Override
    public void close() {
        BundleArchive.delete(folder);
    }
}
