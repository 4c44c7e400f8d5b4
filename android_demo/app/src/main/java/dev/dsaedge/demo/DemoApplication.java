package dev.dsaedge.demo;

import android.app.Application;

import dev.dsaedge.android.KeystoreKey;
import dev.dsaedge.demo.logic.LossCurve;
import dev.dsaedge.demo.logic.Session;

/** Holds what outlives a screen: the session, its worker, and the curve of the last fit. */
public final class DemoApplication extends Application {
    private Session session;
    private Worker worker;
    private final LossCurve curve = new LossCurve();

    @Override
    public void onCreate() {
        super.onCreate();
        session = new Session(getFilesDir(), new KeystoreKey("dsa-edge-demo"));
        worker = new Worker();
    }

    Session session() {
        return session;
    }

    Worker worker() {
        return worker;
    }

    LossCurve curve() {
        return curve;
    }
}
