package dev.dsaedge;

import java.io.EOFException;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipException;
import java.util.zip.ZipInputStream;

/**
 * A bundle that comes as one zip file, as a download or another app hands it over.
 *
 * <p>in: the stream of a zip whose entries are a bundle's files, or one folder that holds them<br>
 * out: the bundle as a folder, there as a whole or not at all
 */
public final class BundleArchive {
    private static final int BUFFER = 1 << 16; // bytes
    private static final int MOST_ENTRIES = 1000;
    private static final String MANIFEST = "manifest.json";

    private BundleArchive() {}

    /**
     * Unpack a bundle; one that is already at the target is replaced once the new one is whole.
     *
     * @param maxBytes of all files together; an archive may claim any size, so this is what counts
     * @return bytes written
     * @throws BundleException for what is no bundle, is too large, or names files outside of itself
     * @throws StoreException when the storage is full or cannot be written
     */
    public static long unpack(InputStream zip, File target, long maxBytes) {
        File fresh = new File(target.getPath() + ".new");
        delete(fresh);
        try {
            long written = unpackInto(fresh, new ZipInputStream(zip), maxBytes);
            install(rootOf(fresh), target);
            return written;
        } catch (EOFException error) {
            throw damaged(error);
        } catch (ZipException error) {
            throw damaged(error);
        } catch (IOException error) {
            throw new StoreException("the bundle cannot be unpacked (" + error.getMessage()
                    + "): free some space or choose the file again; nothing was changed.");
        } finally {
            delete(fresh);
        }
    }

    /** Moves a folder to where another may be, which is deleted. Raises StoreException. */
    public static void install(File fresh, File target) {
        File old = new File(target.getPath() + ".old");
        delete(old);
        boolean free = !target.exists() || target.renameTo(old);
        if (!free || !fresh.renameTo(target)) {
            old.renameTo(target);
            throw new StoreException("cannot move " + fresh.getName() + " to " + target.getName()
                    + ": free some space and try again; what was there is still there.");
        }
        delete(old);
    }

    /** Deletes a file or a folder with all that is in it; what is not there is no error. */
    public static void delete(File file) {
        File[] inside = file.listFiles();
        if (inside != null) {
            for (File child : inside) {
                delete(child);
            }
        }
        file.delete();
    }

    private static long unpackInto(File folder, ZipInputStream zip, long maxBytes)
            throws IOException {
        long left = maxBytes;
        int entries = 0;
        for (ZipEntry entry = next(zip); entry != null; entry = next(zip)) {
            if (++entries > MOST_ENTRIES) {
                throw new BundleException("the archive has more than " + MOST_ENTRIES
                        + " entries, a bundle has some dozens: choose another file.");
            }
            File file = inside(folder, entry.getName());
            if (entry.isDirectory()) {
                makeFolder(file);
            } else {
                makeFolder(file.getParentFile());
                left -= copy(zip, file, left, maxBytes);
            }
        }
        return maxBytes - left;
    }

    private static void makeFolder(File folder) throws IOException {
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("cannot make the folder " + folder);
        }
    }

    private static ZipEntry next(ZipInputStream zip) throws IOException {
        try {
            return zip.getNextEntry();
        } catch (IllegalArgumentException error) { // a name that is no text, in older versions
            throw damaged(error);
        }
    }

    /** Refuses names that lead out of the folder, whichever way they are written. */
    private static File inside(File folder, String name) throws IOException {
        File file = new File(folder, name);
        String root = folder.getCanonicalPath() + File.separator;
        boolean inside = (file.getCanonicalPath() + File.separator).startsWith(root);
        if (name.indexOf('\0') >= 0 || !inside) {
            throw new BundleException("the archive names the file '" + name
                    + "' outside of its own folder: do not use it.");
        }
        return file;
    }

    private static long copy(ZipInputStream zip, File file, long left, long maxBytes)
            throws IOException {
        byte[] buffer = new byte[BUFFER];
        long copied = 0;
        OutputStream out = new FileOutputStream(file);
        try {
            for (int n = zip.read(buffer); n > 0; n = zip.read(buffer)) {
                copied += n;
                if (copied > left) {
                    throw new BundleException("the archive unpacks to more than "
                            + (maxBytes >> 20) + " MB: free some space or use a smaller bundle.");
                }
                out.write(buffer, 0, n);
            }
        } finally {
            out.close();
        }
        return copied;
    }

    private static BundleException damaged(Exception error) {
        return new BundleException("the archive is damaged (" + error.getMessage()
                + "): copy it again; nothing was changed.");
    }

    /** The folder that has the manifest: what was unpacked, or the only folder in it. */
    private static File rootOf(File folder) {
        if (new File(folder, MANIFEST).isFile()) {
            return folder;
        }
        File[] inside = folder.listFiles();
        if (inside != null && inside.length == 1 && new File(inside[0], MANIFEST).isFile()) {
            return inside[0];
        }
        throw new BundleException("the archive has no " + MANIFEST
                + ", so it is no bundle: choose what `dsa-edge export` wrote, as a zip.");
    }

}
