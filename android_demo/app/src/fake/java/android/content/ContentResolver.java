package android.content;

import android.net.Uri;

import java.io.ByteArrayInputStream;
import java.io.InputStream;

/** Every address has the same content. */
public class ContentResolver {
    public static byte[] content;

    public final InputStream openInputStream(Uri address) {
        return new ByteArrayInputStream(content);
    }
}
