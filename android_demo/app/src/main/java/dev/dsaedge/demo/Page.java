package dev.dsaedge.demo;

import android.app.Activity;
import android.text.InputType;
import android.view.View;
import android.view.ViewGroup;
import android.widget.Button;
import android.widget.EditText;
import android.widget.LinearLayout;
import android.widget.ScrollView;
import android.widget.Switch;
import android.widget.TextView;

/** A scrolling column of views; every control is at least 48 dp high and has a label. */
final class Page {
    // EditorInfo's, from Android 8 on: what is typed here stays out of the keyboard's own memory.
    private static final int NO_PERSONALIZED_LEARNING = 0x1000000;

    private final Activity activity;
    private final ScrollView scroll;
    private final LinearLayout column;

    Page(Activity activity) {
        this.activity = activity;
        column = new LinearLayout(activity);
        column.setOrientation(LinearLayout.VERTICAL);
        int edge = pixels(R.dimen.page);
        column.setPadding(edge, edge, edge, edge);
        scroll = new ScrollView(activity);
        scroll.setFitsSystemWindows(true); // apps for Android 15 draw below the bars
        scroll.addView(column);
    }

    View view() {
        return scroll;
    }

    /** A paragraph; what changes in it is read out by screen readers. */
    TextView text(String content) {
        TextView text = new TextView(activity);
        text.setText(content);
        text.setTextAppearance(activity, android.R.style.TextAppearance_Material_Body1);
        text.setTextIsSelectable(true);
        text.setAccessibilityLiveRegion(View.ACCESSIBILITY_LIVE_REGION_POLITE);
        return add(text);
    }

    Button button(String label, View.OnClickListener listener) {
        Button button = new Button(activity);
        button.setText(label);
        button.setAllCaps(false);
        button.setMinHeight(pixels(R.dimen.touch));
        button.setOnClickListener(listener);
        return add(button);
    }

    /** A choice; screen readers say its label, and on or off. */
    Switch choice(String label, View.OnClickListener listener) {
        Switch choice = new Switch(activity);
        choice.setText(label);
        choice.setMinHeight(pixels(R.dimen.touch));
        choice.setOnClickListener(listener);
        return add(choice);
    }

    /** A field for some lines; its hint stays readable for screen readers. */
    EditText field(String hint) {
        EditText field = new EditText(activity);
        field.setHint(hint);
        field.setMinHeight(pixels(R.dimen.touch));
        field.setInputType(InputType.TYPE_CLASS_TEXT | InputType.TYPE_TEXT_FLAG_MULTI_LINE
                | InputType.TYPE_TEXT_FLAG_CAP_SENTENCES);
        field.setImeOptions(NO_PERSONALIZED_LEARNING);
        return add(field);
    }

    /** An inner column, to be emptied and filled again. */
    LinearLayout list() {
        LinearLayout list = new LinearLayout(activity);
        list.setOrientation(LinearLayout.VERTICAL);
        return add(list);
    }

    <V extends View> V add(V view) {
        LinearLayout.LayoutParams params = new LinearLayout.LayoutParams(
                ViewGroup.LayoutParams.MATCH_PARENT, ViewGroup.LayoutParams.WRAP_CONTENT);
        params.bottomMargin = pixels(R.dimen.gap);
        column.addView(view, params);
        return view;
    }

    void setEnabled(boolean enabled) {
        setEnabled(column, enabled);
    }

    private static void setEnabled(ViewGroup group, boolean enabled) {
        for (int i = 0; i < group.getChildCount(); i++) {
            View child = group.getChildAt(i);
            if (child instanceof ViewGroup) {
                setEnabled((ViewGroup) child, enabled);
            }
            child.setEnabled(enabled);
        }
    }

    private int pixels(int dimension) {
        return activity.getResources().getDimensionPixelSize(dimension);
    }
}
