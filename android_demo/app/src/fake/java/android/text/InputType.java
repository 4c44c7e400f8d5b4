package android.text;

/** Kinds of input. */
public interface InputType {
    int TYPE_CLASS_TEXT = 1;
    int TYPE_TEXT_FLAG_MULTI_LINE = 2;
    int TYPE_TEXT_FLAG_CAP_SENTENCES = 4;
}
