package dev.dsaedge;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;

/**
 * How labelled texts become prompts: {@code new Labels("{text} It was", "terrible", "great")}.
 *
 * <p>The same rules as Python's {@code Labels}, so both make the same prompts.
 */
public final class Labels {
    private static final String PLACE = "{text}";

    private final String template;
    private final List<String> choices;

    /** Raises UsageException unless the template has {text} and there are two distinct names. */
    public Labels(String template, String... names) {
        if (!template.contains(PLACE)) {
            throw new UsageException("template '" + template + "' has no {text}: say where the "
                    + "text goes, as in '{text} It was'.");
        }
        List<String> given = Arrays.asList(names);
        if (given.size() < 2 || new HashSet<String>(given).size() != given.size()
                || given.contains("")) {
            throw new UsageException(
                    "labels are " + given + ", expected at least two distinct words.");
        }
        this.template = template;
        this.choices = Collections.unmodifiableList(continuations(given));
    }

    /** The names as they continue a prompt: a word's leading space belongs to its token. */
    public List<String> choices() {
        return choices;
    }

    /**
     * The prompt for a text whose label is to be chosen.
     *
     * @param plain the text, gone through {@link Personalizer#plain}
     */
    public String prompt(String plain) {
        return template.replace(PLACE, plain.trim());
    }

    /** The example for a text and one of {@link #choices}, by its place. */
    public Example example(String plain, int label) {
        if (label < 0 || label >= choices.size()) {
            throw new ExampleException(
                    "label " + label + " is no index below " + choices.size() + ".");
        }
        return new Example(prompt(plain), choices.get(label), choices);
    }

    private List<String> continuations(List<String> names) {
        String end = prompt("x");
        String glue = Character.isWhitespace(end.charAt(end.length() - 1)) ? "" : " ";
        List<String> made = new ArrayList<String>();
        for (String name : names) {
            made.add(Character.isWhitespace(name.charAt(0)) ? name : glue + name);
        }
        return made;
    }
}
