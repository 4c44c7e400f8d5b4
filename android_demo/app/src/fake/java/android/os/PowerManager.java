package android.os;

/** A cool phone. */
public class PowerManager {
    public int getCurrentThermalStatus() {
        return 0;
    }
}
