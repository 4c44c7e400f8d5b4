package dev.dsaedge;

/** Hears text as it is generated, on the thread that called {@link Personalizer#generate}. */
public interface TokenListener {
    /**
     * A piece of text that is certain.
     *
     * @return false to end the text here
     */
    boolean onText(String piece);
}
