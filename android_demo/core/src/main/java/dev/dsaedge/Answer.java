package dev.dsaedge;

import java.util.List;

/** The likeliest of the given choices, and the probability of each. Immutable. */
public final class Answer {
    /** The likeliest choice. */
    public final String text;
    /** All choices, as they were given. */
    public final List<String> choices;
    private final double[] probabilities;

    Answer(int best, List<String> choices, double[] probabilities) {
        this.text = choices.get(best);
        this.choices = choices;
        this.probabilities = probabilities;
    }

    /** The probability of the i-th choice, from 0 to 1. */
    public double probability(int i) {
        return probabilities[i];
    }
}
