package android.content;

/** A dialog, to its listeners. */
public interface DialogInterface {
    /** See DialogInterface. */
    interface OnClickListener {
        void onClick(DialogInterface dialog, int which);
    }
}
