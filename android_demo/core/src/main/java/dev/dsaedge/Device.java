package dev.dsaedge;

/** Tells the state of the device; `AndroidDevice` asks Android's services. */
public interface Device {
    /** The state now; called between two steps, so it must take less than a step. */
    DeviceState read();
}
