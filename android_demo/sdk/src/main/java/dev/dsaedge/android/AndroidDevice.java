package dev.dsaedge.android;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;

import dev.dsaedge.Device;
import dev.dsaedge.DeviceState;

/** The state of this phone, from Android's battery and thermal services; needs no permission. */
public final class AndroidDevice implements Device {
    private static final int ANDROID_10 = 29; // the first with a thermal service

    private final Context context;

    /** Keeps the application's context, no activity's. */
    public AndroidDevice(Context context) {
        this.context = context.getApplicationContext();
    }

    @Override
    public DeviceState read() {
        // A sticky broadcast: without a receiver the last one comes back at once.
        Intent battery = context.registerReceiver(
                null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        if (battery == null) {
            return new DeviceState(false, Double.NaN, Double.NaN, thermal());
        }
        boolean charging = battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0;
        return new DeviceState(charging, percent(battery), celsius(battery), thermal());
    }

    private static double percent(Intent battery) {
        int level = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, -1);
        int scale = battery.getIntExtra(BatteryManager.EXTRA_SCALE, -1);
        return level < 0 || scale <= 0 ? Double.NaN : 100.0 * level / scale;
    }

    private static double celsius(Intent battery) {
        int tenths = battery.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Integer.MIN_VALUE);
        return tenths == Integer.MIN_VALUE ? Double.NaN : tenths / 10.0;
    }

    /** By reflection, so that the same source compiles against any Android from 23 on. */
    private int thermal() {
        if (Build.VERSION.SDK_INT < ANDROID_10) {
            return DeviceState.THERMAL_UNKNOWN;
        }
        try {
            Object power = context.getSystemService(Context.POWER_SERVICE);
            return (Integer) PowerManager.class.getMethod("getCurrentThermalStatus").invoke(power);
        } catch (ReflectiveOperationException error) {
            return DeviceState.THERMAL_UNKNOWN;
        }
    }
}
