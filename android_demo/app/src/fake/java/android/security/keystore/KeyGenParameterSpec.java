package android.security.keystore;

import java.security.spec.AlgorithmParameterSpec;

/** What a new key is to be like. */
public final class KeyGenParameterSpec implements AlgorithmParameterSpec {
    public final String alias;
    public final int size; // bits

    private KeyGenParameterSpec(String alias, int size) {
        this.alias = alias;
        this.size = size;
    }

    /** See KeyGenParameterSpec. */
    public static final class Builder {
        private final String alias;
        private int size;

        public Builder(String alias, int purposes) {
            this.alias = alias;
        }

        public Builder setKeySize(int bits) {
            size = bits;
            return this;
        }

        public KeyGenParameterSpec build() {
            return new KeyGenParameterSpec(alias, size);
        }
    }
}
