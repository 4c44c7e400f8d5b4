package android.security.keystore;

/** Names that the Keystore knows. */
public abstract class KeyProperties {
    public static final int PURPOSE_SIGN = 4;
    public static final String KEY_ALGORITHM_HMAC_SHA256 = "HmacSHA256";
}
