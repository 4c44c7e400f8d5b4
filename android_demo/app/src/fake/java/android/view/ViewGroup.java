package android.view;

import android.content.Context;

import java.util.ArrayList;
import java.util.List;

/** Views in a row. */
public abstract class ViewGroup extends View {
    private final List<View> children = new ArrayList<View>();

    public ViewGroup(Context context) {
        super(context);
    }

    public void addView(View child) {
        children.add(child);
    }

    public void addView(View child, LayoutParams params) {
        children.add(child);
    }

    public void removeAllViews() {
        children.clear();
    }

    public int getChildCount() {
        return children.size();
    }

    public View getChildAt(int place) {
        return children.get(place);
    }

    /** How large a view is. */
    public static class LayoutParams {
        public static final int MATCH_PARENT = -1;
        public static final int WRAP_CONTENT = -2;
    }

    /** The same with margins. */
    public static class MarginLayoutParams extends LayoutParams {
        public int bottomMargin;
    }
}
