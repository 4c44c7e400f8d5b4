package dev.dsaedge;

/** What a device tells of itself; a value that it does not tell is unknown, not good. */
public final class DeviceState {
    /** Thermal statuses of Android's PowerManager that matter here. */
    public static final int THERMAL_UNKNOWN = -1;
    public static final int THERMAL_NONE = 0;
    public static final int THERMAL_LIGHT = 1;
    public static final int THERMAL_MODERATE = 2;

    /** On external power. */
    public final boolean charging;
    /** Percent, 0 to 100; NaN if unknown. */
    public final double battery;
    /** Of the battery, in °C; NaN if unknown. */
    public final double celsius;
    /** 0 (none) to 6 (shutdown); THERMAL_UNKNOWN before Android 10. */
    public final int thermal;

    public DeviceState(boolean charging, double battery, double celsius, int thermal) {
        this.charging = charging;
        this.battery = battery;
        this.celsius = celsius;
        this.thermal = thermal;
    }
}
