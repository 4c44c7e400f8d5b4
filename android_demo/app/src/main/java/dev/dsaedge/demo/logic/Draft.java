package dev.dsaedge.demo.logic;

import dev.dsaedge.ExampleException;

/** An example as the user gave it: a text with a label, or a prompt with a response. */
public final class Draft {
    /** Of {@link #label} for a free response. */
    public static final int NO_LABEL = -1;

    /** The text, or the prompt. */
    public final String text;
    /** What should follow; empty for a labelled text. */
    public final String response;
    /** Place of the label, or NO_LABEL. */
    public final int label;

    private Draft(String text, String response, int label) {
        this.text = text;
        this.response = response;
        this.label = label;
    }

    /** Raises ExampleException for an empty text. */
    public static Draft labelled(String text, int label) {
        return new Draft(filled("text", text), "", label);
    }

    /** Raises ExampleException for an empty prompt or response. */
    public static Draft written(String prompt, String response) {
        return new Draft(filled("prompt", prompt), filled("response", response), NO_LABEL);
    }

    public boolean isLabelled() {
        return label != NO_LABEL;
    }

    private static String filled(String name, String value) {
        if (value.trim().isEmpty()) {
            throw new ExampleException("the " + name + " is empty: write at least one word.");
        }
        return value;
    }
}
