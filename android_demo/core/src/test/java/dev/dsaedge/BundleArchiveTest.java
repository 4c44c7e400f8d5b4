package dev.dsaedge;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** Zips that are bundles, and zips that someone made to do harm. */
public final class BundleArchiveTest extends Folder {
    private static final long ROOM = 1 << 20;

    private final File target = new File(folder, "bundle.dsa");

    public void unpacksFilesAndFolders() throws Exception {
        long bytes = unpack(zip("manifest.json", "{}", "onnx/probe.onnx", "graph"));
        Check.equal(7, bytes);
        Check.equal(5, new File(target, "onnx/probe.onnx").length());
        Check.equal("[bundle.dsa]", Arrays.asList(folder.list()));
    }

    public void takesABundleThatIsOneFolderInTheZip() throws Exception {
        unpack(zip("smol.dsa/manifest.json", "{}", "smol.dsa/tokenizer.json", "{}"));
        Check.that(new File(target, "tokenizer.json").isFile(), "the folder's own files are there");
    }

    public void replacesAnotherBundle() throws Exception {
        unpack(zip("manifest.json", "{}", "old.bin", "x"));
        unpack(zip("manifest.json", "{}"));
        Check.that(!new File(target, "old.bin").exists(), "nothing of the old one is left");
    }

    public void refusesNamesOutsideOfTheFolder() throws Exception {
        for (String name : new String[] {
            "../evil", "a/../../evil", "/../evil", "..", "a/../../bundle.dsa.newer/evil"}) {
            refused(zip("manifest.json", "{}", name, "x"), "outside of its own folder");
        }
    }

    public void anAbsoluteNameStaysInside() throws Exception {
        unpack(zip("manifest.json", "{}", "/etc/evil", "x"));
        Check.that(new File(target, "etc/evil").isFile(), "it is a name like any other");
    }

    public void refusesWhatUnpacksToTooMuch() throws Exception {
        char[] zeros = new char[(int) ROOM + 1];
        Arrays.fill(zeros, '0');
        refused(zip("manifest.json", new String(zeros)), "more than 1 MB");
    }

    public void refusesTooManyEntries() throws Exception {
        String[] content = new String[2 * 1001];
        for (int i = 0; i < content.length; i += 2) {
            content[i] = "f" + i;
            content[i + 1] = "";
        }
        refused(zip(content), "entries");
    }

    public void refusesAZipOfSomethingElse() throws Exception {
        refused(zip("photo.jpg", "x"), "no manifest.json");
        refused(new byte[0], "no manifest.json");
        refused("not a zip at all".getBytes("UTF-8"), "no manifest.json");
    }

    public void refusesAZipThatIsCutAnywhere() throws Exception {
        byte[] whole = zip("manifest.json", "{\"a\": 1}", "onnx/a.onnx", "0123456789");
        unpack(zip("manifest.json", "{}"));
        int entries = indexOfDirectory(whole);
        for (int length = 1; length < entries; length++) {
            byte[] cut = Arrays.copyOf(whole, length);
            try {
                unpack(cut);
            } catch (BundleException expected) {
                Check.that(new File(target, "manifest.json").length() == 2, "the old one is there");
                continue;
            }
            // The second entry is gone as a whole: the manifest's hashes tell, when it is opened.
            Check.that(new File(target, "manifest.json").isFile(), "a whole entry is left");
            unpack(zip("manifest.json", "{}"));
        }
    }

    public void survivesFlippedBits() throws Exception {
        byte[] whole = zip("manifest.json", "{\"a\": 1}", "b", "0123456789");
        Random random = new Random(0);
        for (int i = 0; i < 200; i++) {
            byte[] flipped = whole.clone();
            flipped[random.nextInt(flipped.length)] ^= (byte) (1 << random.nextInt(8));
            try {
                unpack(flipped);
            } catch (DsaEdgeException expected) {
                Check.that(!new File(target.getPath() + ".new").exists(), "nothing is left behind");
            }
            Check.that(folder.list().length <= 1, "nothing is beside the bundle");
        }
    }

    private void refused(final byte[] zip, String words) {
        Check.raises(BundleException.class, words, new Check.Work() {
            @Override
            public void run() {
                unpack(zip);
            }
        });
        Check.equal(0, folder.list().length);
    }

    private long unpack(byte[] zip) {
        return BundleArchive.unpack(new ByteArrayInputStream(zip), target, ROOM);
    }

    private static byte[] zip(String... content) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ZipOutputStream out = new ZipOutputStream(bytes);
        for (int i = 0; i < content.length; i += 2) {
            out.putNextEntry(new ZipEntry(content[i]));
            out.write(content[i + 1].getBytes("UTF-8"));
        }
        out.close();
        return bytes.toByteArray();
    }

    /** Where the list of entries begins, which a reader of streams never looks at. */
    private static int indexOfDirectory(byte[] zip) {
        for (int i = 0; i + 4 <= zip.length; i++) {
            if (zip[i] == 'P' && zip[i + 1] == 'K' && zip[i + 2] == 1 && zip[i + 3] == 2) {
                return i;
            }
        }
        throw new AssertionError("no zip");
    }
}
