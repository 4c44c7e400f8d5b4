package dev.dsaedge.android;

import dev.dsaedge.Check;
import dev.dsaedge.WrongKeyException;

import java.util.Arrays;

/** Keys from a secret of the Keystore, over a stand-in for it. */
public final class KeystoreKeyTest {
    private static final byte[] SALT = new byte[16];
    private static final byte[] OTHER_SALT = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

    public KeystoreKeyTest() {
        FakeKeystore.install();
    }

    public void aStoreHasTheSameKeyEachTime() {
        byte[] first = new KeystoreKey("app").key("store", SALT, true);
        Check.equal(32, first.length);
        same(true, first, new KeystoreKey("app").key("store", SALT, false));
    }

    public void everythingElseHasAnother() {
        KeystoreKey keys = new KeystoreKey("app");
        byte[] key = keys.key("store", SALT, true);
        same(false, key, keys.key("other", SALT, true));
        same(false, key, keys.key("store", OTHER_SALT, true));
        same(false, key, new KeystoreKey("another app").key("store", SALT, true));
    }

    public void aLostSecretIsAnErrorAndNotANewKey() {
        final KeystoreKey keys = new KeystoreKey("app");
        keys.key("store", SALT, true);
        FakeKeystore.KEYS.clear(); // as after the lock screen's secret was removed
        Check.raises(WrongKeyException.class, "forget what was learned", new Check.Work() {
            @Override
            public void run() {
                keys.key("store", SALT, false);
            }
        });
        Check.equal(0, FakeKeystore.KEYS.size());
    }

    private static void same(boolean expected, byte[] a, byte[] b) {
        Check.equal(expected, Arrays.equals(a, b));
    }
}
