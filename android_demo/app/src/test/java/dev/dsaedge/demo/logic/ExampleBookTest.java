package dev.dsaedge.demo.logic;

import dev.dsaedge.Check;
import dev.dsaedge.DamagedException;
import dev.dsaedge.ExampleException;
import dev.dsaedge.Folder;

import java.io.File;
import java.util.Arrays;

/** Drafts outlive the process, whatever is in them. */
public final class ExampleBookTest extends Folder {
    private final SealedFile file =
            new SealedFile(new File(folder, "examples"), new SealedFileTest.Keys(7));

    public void keepsDraftsOfBothKinds() {
        ExampleBook book = new ExampleBook(file);
        book.add(Draft.labelled("two hours wasted \uD83D\uDE00 \u0000 \uFFFF", 0));
        book.add(Draft.written("Dear team,", " all done.\n"));
        ExampleBook again = new ExampleBook(file);
        Check.equal("two hours wasted \uD83D\uDE00 \u0000 \uFFFF", again.all().get(0).text);
        Check.equal(0, again.all().get(0).label);
        Check.equal(" all done.\n", again.all().get(1).response);
        Check.that(!again.all().get(1).isLabelled(), "it is a free response");
        again.remove(0);
        Check.equal(1, new ExampleBook(file).all().size());
    }

    public void forgets() {
        ExampleBook book = new ExampleBook(file);
        book.add(Draft.labelled("a", 1));
        book.clear();
        Check.equal(0, book.all().size());
        Check.equal(0, folder.list().length);
    }

    public void emptyDraftsAreRefused() {
        Check.raises(ExampleException.class, "the text is empty", new Check.Work() {
            @Override
            public void run() {
                Draft.labelled(" \n", 0);
            }
        });
        Check.raises(ExampleException.class, "the response is empty", new Check.Work() {
            @Override
            public void run() {
                Draft.written("a", "");
            }
        });
    }

    public void isFullAtSomePoint() {
        final ExampleBook book = new ExampleBook(file, 3);
        for (int i = 0; i < 3; i++) {
            book.add(Draft.labelled("text", 0));
        }
        Check.raises(ExampleException.class, "3 examples already", new Check.Work() {
            @Override
            public void run() {
                book.add(Draft.labelled("one more", 0));
            }
        });
        Check.equal(3, new ExampleBook(file).all().size());
    }

    public void contentThatIsNotOursIsRefused() {
        for (byte[] content : new byte[][] {
            {1}, {127, 0, 0, 0}, {-1, 0, 0, 0}, {0, 0, 0, 1},
            {0, 0, 0, 1, 0, 0, 0, 0, 127, 0, 0, 0}, {0, 0, 0, 1, 0, 0, 0, 0, -1, -1, -1, -1}}) {
            file.write(Arrays.copyOf(content, content.length));
            Check.raises(DamagedException.class, "the examples are damaged", new Check.Work() {
                @Override
                public void run() {
                    new ExampleBook(file).all();
                }
            });
        }
    }
}
