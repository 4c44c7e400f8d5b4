package dev.dsaedge.android;

import android.annotation.TargetApi;
import android.os.Build;
import android.security.keystore.KeyGenParameterSpec;
import android.security.keystore.KeyProperties;

import dev.dsaedge.KeyProvider;
import dev.dsaedge.WrongKeyException;

import java.io.IOException;
import java.nio.charset.Charset;
import java.security.GeneralSecurityException;
import java.security.Key;
import java.security.KeyStore;

import javax.crypto.KeyGenerator;
import javax.crypto.Mac;

/**
 * Keys of stores from a secret that never leaves Android's Keystore.
 *
 * <p>The secret is an HMAC-SHA256 key, in secure hardware where the phone has it. A store's key is
 * HMAC(secret, "dsa-edge store " + id + salt), so another salt is another key. Uninstalling the app
 * deletes the secret, and with it every store: there is no backup, by intent.
 */
@TargetApi(Build.VERSION_CODES.M)
public final class KeystoreKey implements KeyProvider {
    private static final String STORE = "AndroidKeyStore";
    private static final String MAC = KeyProperties.KEY_ALGORITHM_HMAC_SHA256;
    private static final Charset UTF_8 = Charset.forName("UTF-8");

    private final String alias;

    /** Uses the secret of this alias; makes it when it is first asked for. */
    public KeystoreKey(String alias) {
        this.alias = alias;
    }

    /** Raises WrongKeyException when the Keystore does not give the secret. */
    @Override
    public byte[] key(String store, byte[] salt, boolean newStore) {
        try {
            Mac mac = Mac.getInstance(MAC);
            mac.init(secret(newStore));
            mac.update(("dsa-edge store " + store).getBytes(UTF_8));
            return mac.doFinal(salt);
        } catch (GeneralSecurityException error) {
            throw refused(error);
        } catch (IOException error) {
            throw refused(error);
        }
    }

    private Key secret(boolean mayMake) throws GeneralSecurityException, IOException {
        KeyStore keys = KeyStore.getInstance(STORE);
        keys.load(null);
        Key known = keys.getKey(alias, null);
        if (known == null && !mayMake) {
            throw new WrongKeyException("the Keystore has no key '" + alias + "' any more, so what "
                    + "it sealed cannot be read: forget what was learned.");
        }
        return known == null ? make() : known;
    }

    private Key make() throws GeneralSecurityException {
        KeyGenerator generator = KeyGenerator.getInstance(MAC, STORE);
        generator.init(new KeyGenParameterSpec.Builder(alias, KeyProperties.PURPOSE_SIGN)
                .setKeySize(8 * KEY_BYTES)
                .build());
        return generator.generateKey();
    }

    private WrongKeyException refused(Exception error) {
        return new WrongKeyException("the Keystore does not give the key '" + alias + "' ("
                + error.getMessage() + "): unlock the phone and try again, or forget what was "
                + "learned.");
    }
}
