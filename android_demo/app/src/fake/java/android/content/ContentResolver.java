package android.content;

import android.net.Uri;

import java.io.ByteArrayInputStream;
import java.io.FileNotFoundException;
import java.io.InputStream;

/** One file, whatever is asked for. */
public class ContentResolver {
    /** Null for what an app that crashed gives. */
    public static byte[] content;
    /** Whether the permission to read it is gone. */
    public static boolean withdrawn;
    /** Whether the file is. */
    public static boolean gone;

    public final InputStream openInputStream(Uri uri) throws FileNotFoundException {
        if (withdrawn) {
            throw new SecurityException("Permission Denial: reading a provider");
        }
        if (gone) {
            throw new FileNotFoundException("open failed: ENOENT");
        }
        return content == null ? null : new ByteArrayInputStream(content);
    }
}
