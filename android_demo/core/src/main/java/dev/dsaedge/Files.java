package dev.dsaedge;

import java.io.File;
import java.io.IOException;

/** Folders and what is in them; java.nio.file is on Android from API 26 on only. */
final class Files {
    private Files() {}

    static void makeFolder(File folder) throws IOException {
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("cannot make the folder " + folder);
        }
    }

    /** Deletes a file or a folder with all that is in it; what is not there is no error. */
    static void delete(File file) {
        File[] inside = file.listFiles();
        if (inside != null) {
            for (File child : inside) {
                delete(child);
            }
        }
        file.delete();
    }
}
