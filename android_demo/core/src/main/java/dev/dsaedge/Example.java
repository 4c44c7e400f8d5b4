package dev.dsaedge;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * One thing to learn: after {@link #prompt}, answer {@link #response}. Immutable.
 *
 * <p>With {@link #choices} the loss is over them alone; the response is then one of them.
 */
public final class Example {
    /** What the model is given. */
    public final String prompt;
    /** What it should answer; never empty. */
    public final String response;
    /** All possible answers, the response among them; empty for a free response. */
    public final List<String> choices;

    /** Raises ExampleException for an empty response, or one that is not among the choices. */
    public Example(String prompt, String response, List<String> choices) {
        this.prompt = prompt;
        this.response = response;
        this.choices = Collections.unmodifiableList(new ArrayList<String>(choices));
        if (prompt == null || response == null || response.isEmpty()) {
            throw new ExampleException("an example has no prompt or an empty response: give both.");
        }
        if (!choices.isEmpty() && !choices.contains(response)) {
            throw new ExampleException("response '" + response + "' is not among the choices "
                    + choices + ": correct the response or add it to the choices.");
        }
    }

    /** A free response: a note, a reply, a line of code. */
    public static Example of(String prompt, String response) {
        return new Example(prompt, response, Collections.<String>emptyList());
    }

    /** One of several answers, as a label is. */
    public static Example choice(String prompt, String response, String... choices) {
        return new Example(prompt, response, Arrays.asList(choices));
    }

    @Override
    public boolean equals(Object other) {
        if (!(other instanceof Example)) {
            return false;
        }
        Example that = (Example) other;
        return prompt.equals(that.prompt) && response.equals(that.response)
                && choices.equals(that.choices);
    }

    @Override
    public int hashCode() {
        return 31 * (31 * prompt.hashCode() + response.hashCode()) + choices.hashCode();
    }
}
