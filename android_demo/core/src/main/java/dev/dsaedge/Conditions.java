package dev.dsaedge;

import java.util.ArrayList;
import java.util.List;

/**
 * What a device must be like to go on learning. Immutable.
 *
 * <p>What the system does not tell counts as not met, so a phone that hides its battery is not
 * drained; the thermal status alone may be unknown, for phones before Android 10 have none.
 */
public final class Conditions {
    private final boolean charging;
    private final double battery;
    private final double celsius;
    private final int thermal;

    private Conditions(boolean charging, double battery, double celsius, int thermal) {
        this.charging = charging;
        this.battery = battery;
        this.celsius = celsius;
        this.thermal = thermal;
    }

    /** Learn whatever the device is like. */
    public static Conditions none() {
        return new Conditions(false, Double.NaN, Double.NaN, Integer.MAX_VALUE);
    }

    /** On a charger, battery at 20 % or more and 40 °C or less, not throttled for heat. */
    public static Conditions gentle() {
        return new Conditions(true, 20, 40, DeviceState.THERMAL_LIGHT);
    }

    /** The device must be on external power. */
    public Conditions withCharging() {
        return new Conditions(true, battery, celsius, thermal);
    }

    /** The battery must have at least so many percent. */
    public Conditions withBattery(double percent) {
        return new Conditions(charging, checked("battery", percent), celsius, thermal);
    }

    /** The battery may have at most so many °C. */
    public Conditions withCelsius(double most) {
        return new Conditions(charging, battery, checked("celsius", most), thermal);
    }

    /** The thermal status may be at most this one of DeviceState's. */
    public Conditions withThermal(int most) {
        return new Conditions(charging, battery, celsius, most);
    }

    /** Why a device may not learn now, in short phrases; empty when it may. */
    public List<String> unmet(DeviceState state) {
        List<String> reasons = new ArrayList<String>();
        if (charging && !state.charging) {
            reasons.add("it is not on a charger");
        }
        if (!Double.isNaN(battery) && !(state.battery >= battery)) {
            reasons.add("battery " + known(state.battery) + " %, expected at least "
                    + known(battery) + " %");
        }
        if (!Double.isNaN(celsius) && !(state.celsius <= celsius)) {
            reasons.add(known(state.celsius) + " °C, expected at most " + known(celsius) + " °C");
        }
        if (state.thermal > thermal) {
            reasons.add("it is throttled for heat (status " + state.thermal + ")");
        }
        return reasons;
    }

    private static String known(double value) {
        return Double.isNaN(value) ? "unknown" : String.valueOf(Math.round(value));
    }

    private static double checked(String name, double value) {
        if (!(value >= 0 && value <= 100)) {
            throw new UsageException(name + " is " + value + ", expected a number from 0 to 100.");
        }
        return value;
    }
}
