package dev.dsaedge.demo.logic;

import dev.dsaedge.Check;
import dev.dsaedge.DamagedException;
import dev.dsaedge.Folder;
import dev.dsaedge.KeyProvider;
import dev.dsaedge.StoreException;

import java.io.DataInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.util.Arrays;

/** What is written can be read with its key alone, and no change to it goes unseen. */
public final class SealedFileTest extends Folder {
    private static final byte[] CONTENT = {1, 2, 3};

    private final File file = new File(folder, "examples");
    private final SealedFile sealed = new SealedFile(file, new Keys(7));

    public void keepsItsContent() {
        Check.equal(0, sealed.read().length);
        sealed.write(CONTENT);
        Check.that(Arrays.equals(CONTENT, new SealedFile(file, new Keys(7)).read()), "the same");
    }

    public void anotherKeyReadsNothing() {
        sealed.write(CONTENT);
        refused(new SealedFile(file, new Keys(8)));
    }

    public void everyChangedByteIsSeen() throws Exception {
        sealed.write(CONTENT);
        byte[] whole = bytes();
        for (int i = 0; i < whole.length; i++) {
            byte[] changed = whole.clone();
            changed[i] ^= 1;
            write(changed);
            refused(sealed);
            write(Arrays.copyOf(whole, i));
            refused(sealed);
        }
    }

    public void theSameContentLooksDifferentEachTime() throws Exception {
        sealed.write(CONTENT);
        byte[] first = bytes();
        sealed.write(CONTENT);
        Check.that(!Arrays.equals(first, bytes()), "a new salt and nonce");
    }

    public void aFullStorageIsTold() {
        final SealedFile nowhere = new SealedFile(new File(folder, "gone/x"), new Keys(7));
        Check.raises(StoreException.class, "free some space", new Check.Work() {
            @Override
            public void run() {
                nowhere.write(CONTENT);
            }
        });
    }

    private static void refused(final SealedFile file) {
        Check.raises(DamagedException.class, "damaged or sealed with another key",
                new Check.Work() {
                    @Override
                    public void run() {
                        file.read();
                    }
                });
    }

    private byte[] bytes() throws Exception {
        byte[] content = new byte[(int) file.length()];
        DataInputStream in = new DataInputStream(new FileInputStream(file));
        in.readFully(content);
        in.close();
        return content;
    }

    private void write(byte[] content) throws Exception {
        FileOutputStream out = new FileOutputStream(file);
        out.write(content);
        out.close();
    }

    /** A key of one byte's repetition. */
    static final class Keys implements KeyProvider {
        private final byte filling;

        Keys(int filling) {
            this.filling = (byte) filling;
        }

        @Override
        public byte[] key(String store, byte[] salt, boolean newStore) {
            byte[] key = new byte[KEY_BYTES];
            Arrays.fill(key, filling);
            return key;
        }
    }
}
