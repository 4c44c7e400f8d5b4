package dev.dsaedge.demo;

import android.app.Activity;
import android.view.View;
import android.view.ViewGroup;
import android.widget.Button;
import android.widget.EditText;
import android.widget.TextView;

import dev.dsaedge.Check;

import java.util.ArrayList;
import java.util.List;

/** Finds what is on a screen, as a person does: by the words. */
final class Views {
    private Views() {}

    static void type(Activity screen, int place, String text) {
        ((EditText) find(screen, EditText.class, "").get(place)).setText(text);
    }

    static Button button(Activity screen, String label) {
        for (View view : find(screen, Button.class, label)) {
            return (Button) view;
        }
        throw new AssertionError("no button '" + label + "' on " + screen);
    }

    static View labelled(Activity screen, String description) {
        for (View view : find(screen, Button.class, "")) {
            if (description.equals(view.getContentDescription())) {
                return view;
            }
        }
        throw new AssertionError("nothing described as '" + description + "'");
    }

    static boolean shown(Activity screen, String words) {
        return !find(screen, TextView.class, words).isEmpty();
    }

    static void shows(Activity screen, String words) {
        StringBuilder all = new StringBuilder();
        for (View view : find(screen, TextView.class, "")) {
            all.append(words(view)).append('\n');
        }
        Check.that(all.indexOf(words) >= 0, "expected '" + words + "' in:\n" + all);
    }

    static void shows(LossView curve, String words) {
        String told = String.valueOf(curve.getContentDescription());
        Check.that(told.contains(words), "expected '" + words + "' in: " + told);
    }

    /** Views of a type, and with these words on them, in the order of the screen. */
    static List<View> find(Activity screen, Class<?> type, String words) {
        List<View> found = new ArrayList<View>();
        collect(screen.content, type, words, found);
        return found;
    }

    private static void collect(View view, Class<?> type, String words, List<View> found) {
        if (type.isInstance(view) && words(view).contains(words)) {
            found.add(view);
        }
        if (view instanceof ViewGroup) {
            ViewGroup group = (ViewGroup) view;
            for (int i = 0; i < group.getChildCount(); i++) {
                collect(group.getChildAt(i), type, words, found);
            }
        }
    }

    static String words(View view) {
        StringBuilder words = new StringBuilder();
        if (view instanceof TextView) {
            words.append(((TextView) view).getText());
            CharSequence hint = ((TextView) view).getHint();
            words.append(hint == null ? "" : hint);
        }
        CharSequence description = view.getContentDescription();
        return words.append(description == null ? "" : description).toString();
    }
}
