package dev.dsaedge.demo.logic;

import dev.dsaedge.DamagedException;
import dev.dsaedge.KeyProvider;
import dev.dsaedge.StoreException;

import java.io.DataInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.security.ProviderException;
import java.security.SecureRandom;
import java.util.Arrays;

import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * One small file that only this app on this phone can read.
 *
 * <p>Layout: "DSAE", version (1 byte), salt (16), nonce (12), AES-256-GCM of the content with the
 * 33 bytes before it as associated data. Writes are atomic: old content or new, never neither.
 */
public final class SealedFile {
    private static final byte[] MAGIC = {'D', 'S', 'A', 'E', 1};
    private static final int SALT = 16;
    private static final int NONCE = 12;
    private static final int TAG_BITS = 128;
    private static final int HEADER = MAGIC.length + SALT + NONCE;
    private static final int MOST_BYTES = 16 << 20;

    private final File file;
    private final KeyProvider keys;
    private final SecureRandom random = new SecureRandom();

    public SealedFile(File file, KeyProvider keys) {
        this.file = file;
        this.keys = keys;
    }

    /** The content; empty where there is no file. Raises DamagedException, StoreException. */
    public byte[] read() {
        if (!file.exists()) {
            return new byte[0];
        }
        byte[] sealed = contentOf(file);
        if (sealed.length < HEADER || !startsWith(sealed, MAGIC)) {
            throw damaged(null);
        }
        try {
            return cipher(Cipher.DECRYPT_MODE, sealed)
                    .doFinal(sealed, HEADER, sealed.length - HEADER);
        } catch (GeneralSecurityException error) {
            throw damaged(error);
        } catch (ProviderException error) { // some ciphers say so for what is too short
            throw damaged(error);
        }
    }

    /** Raises StoreException when the storage is full or cannot be written. */
    public void write(byte[] content) {
        if (content.length > MOST_BYTES - HEADER - TAG_BITS / 8) {
            throw new StoreException(file.getName() + " would have " + content.length
                    + " bytes, expected less than " + MOST_BYTES + ": remove some of it.");
        }
        byte[] header = new byte[HEADER];
        random.nextBytes(header); // a new salt each time: no nonce ever meets its key again
        System.arraycopy(MAGIC, 0, header, 0, MAGIC.length);
        try {
            replace(header, cipher(Cipher.ENCRYPT_MODE, header).doFinal(content));
        } catch (GeneralSecurityException error) {
            throw new StoreException("this phone cannot seal " + file.getName() + " ("
                    + error.getMessage() + "): nothing was written.");
        } catch (IOException error) {
            throw new StoreException(file.getName() + " cannot be written (" + error.getMessage()
                    + "): free some space and try again; what was there is unchanged.");
        }
    }

    /** Deletes the file. */
    public void delete() {
        file.delete();
    }

    /** What it takes on the storage. */
    public long bytes() {
        return file.length();
    }

    private Cipher cipher(int mode, byte[] header) throws GeneralSecurityException {
        byte[] salt = Arrays.copyOfRange(header, MAGIC.length, MAGIC.length + SALT);
        byte[] key = keys.key(file.getName(), salt, mode == Cipher.ENCRYPT_MODE);
        try {
            Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
            cipher.init(mode, new SecretKeySpec(key, "AES"),
                    new GCMParameterSpec(TAG_BITS, header, MAGIC.length + SALT, NONCE));
            cipher.updateAAD(header, 0, HEADER);
            return cipher;
        } finally {
            Arrays.fill(key, (byte) 0);
        }
    }

    private void replace(byte[] header, byte[] sealed) throws IOException {
        File fresh = new File(file.getPath() + ".new");
        FileOutputStream out = new FileOutputStream(fresh);
        try {
            out.write(header);
            out.write(sealed);
            out.getFD().sync();
        } finally {
            out.close();
        }
        if (!fresh.renameTo(file)) {
            throw new IOException("cannot rename " + fresh.getName());
        }
    }

    private byte[] contentOf(File from) {
        long size = from.length();
        if (size > MOST_BYTES) {
            throw damaged(null);
        }
        try {
            DataInputStream in = new DataInputStream(new FileInputStream(from));
            try {
                byte[] content = new byte[(int) size];
                in.readFully(content);
                return content;
            } finally {
                in.close();
            }
        } catch (IOException error) {
            throw new StoreException(from.getName() + " cannot be read (" + error.getMessage()
                    + "): restart the app.");
        }
    }

    private static boolean startsWith(byte[] content, byte[] start) {
        return Arrays.equals(Arrays.copyOf(content, start.length), start);
    }

    private DamagedException damaged(Exception error) {
        String why = error == null ? "it has not the form of one" : error.getMessage();
        return new DamagedException(file.getName() + " is damaged or sealed with another key ("
                + why + "): forget what was learned to start anew.");
    }
}
