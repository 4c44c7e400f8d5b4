package dev.dsaedge.demo;

import android.app.Application;

import dev.dsaedge.KeyProvider;
import dev.dsaedge.android.KeystoreKey;
import dev.dsaedge.demo.logic.Session;

/** Holds what outlives a screen: the session, its workers, and how learning goes on. */
public class DemoApplication extends Application {
    private Session session;
    private Worker worker;
    private Learning learning;

    @Override
    public void onCreate() {
        super.onCreate();
        session = new Session(getFilesDir(), keys());
        worker = new Worker();
        learning = new Learning(this);
    }

    /** Where keys come from; a test on a JVM has no Keystore. */
    KeyProvider keys() {
        return new KeystoreKey("dsa-edge-demo");
    }

    Session session() {
        return session;
    }

    Worker worker() {
        return worker;
    }

    Learning learning() {
        return learning;
    }
}
