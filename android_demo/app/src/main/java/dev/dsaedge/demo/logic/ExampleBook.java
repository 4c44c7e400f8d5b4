package dev.dsaedge.demo.logic;

import dev.dsaedge.DamagedException;
import dev.dsaedge.ExampleException;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * What the user wrote or labelled so far, in a sealed file.
 *
 * <p>Content: number of drafts, then for each its label, text and response (int length, UTF-8).
 */
public final class ExampleBook {
    /** More than a phone learns from in a night. */
    public static final int MOST = 1000;
    private static final int LONGEST = 1 << 20; // bytes of one text
    private static final String UTF_8 = "UTF-8";

    private final SealedFile file;
    private final int most;
    private List<Draft> drafts;

    public ExampleBook(SealedFile file) {
        this(file, MOST);
    }

    ExampleBook(SealedFile file, int most) {
        this.file = file;
        this.most = most;
    }

    /** All drafts, oldest first. Raises StoreException, DamagedException. */
    public synchronized List<Draft> all() {
        if (drafts == null) {
            drafts = parse(file.read());
        }
        return Collections.unmodifiableList(new ArrayList<Draft>(drafts));
    }

    /** Adds one; it is on the storage when this returns. Raises ExampleException when full. */
    public synchronized void add(Draft draft) {
        List<Draft> more = new ArrayList<Draft>(all());
        if (more.size() >= most) {
            throw new ExampleException("there are " + most + " examples already: remove some.");
        }
        more.add(draft);
        keep(more);
    }

    /** Removes the one at a place. */
    public synchronized void remove(int place) {
        List<Draft> fewer = new ArrayList<Draft>(all());
        fewer.remove(place);
        keep(fewer);
    }

    /** Deletes all, damaged ones too. */
    public synchronized void clear() {
        file.delete();
        drafts = null;
    }

    /** What it takes on the storage. */
    public long bytes() {
        return file.bytes();
    }

    private void keep(List<Draft> changed) {
        file.write(format(changed));
        drafts = changed;
    }

    private static byte[] format(List<Draft> drafts) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        try {
            out.writeInt(drafts.size());
            for (Draft draft : drafts) {
                out.writeInt(draft.label);
                write(out, draft.text);
                write(out, draft.response);
            }
        } catch (IOException impossible) { // memory does not fail to write
            throw new IllegalStateException(impossible);
        }
        return bytes.toByteArray();
    }

    private static void write(DataOutputStream out, String text) throws IOException {
        byte[] encoded = text.getBytes(UTF_8);
        if (encoded.length > LONGEST) {
            throw new ExampleException("a text has " + encoded.length + " bytes, expected at most "
                    + LONGEST + ": shorten it.");
        }
        out.writeInt(encoded.length);
        out.write(encoded);
    }

    private static List<Draft> parse(byte[] content) {
        List<Draft> drafts = new ArrayList<Draft>();
        if (content.length == 0) {
            return drafts;
        }
        DataInputStream in = new DataInputStream(new ByteArrayInputStream(content));
        try {
            for (int left = bounded(in.readInt(), MOST); left > 0; left--) {
                int label = in.readInt();
                String text = read(in);
                String response = read(in);
                drafts.add(label == Draft.NO_LABEL
                        ? Draft.written(text, response) : Draft.labelled(text, label));
            }
            return drafts;
        } catch (IOException error) {
            throw new DamagedException("the examples are damaged (" + error.getMessage()
                    + "): forget them to start anew.");
        }
    }

    private static String read(DataInputStream in) throws IOException {
        byte[] encoded = new byte[bounded(in.readInt(), Math.min(LONGEST, in.available()))];
        in.readFully(encoded);
        return new String(encoded, UTF_8);
    }

    private static int bounded(int value, int most) throws IOException {
        if (value < 0 || value > most) {
            throw new IOException(value + " of at most " + most);
        }
        return value;
    }
}
