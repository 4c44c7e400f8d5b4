package android.text;

/** A text that can be changed. */
public interface Editable extends CharSequence {}
