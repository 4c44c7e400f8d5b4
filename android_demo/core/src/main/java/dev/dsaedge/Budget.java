package dev.dsaedge;

/**
 * Bounds on one {@link Personalizer#fit}; what is not set is left to the defaults. Immutable.
 *
 * <pre>Budget.unlimited().withSeconds(120).withMemoryMb(600)</pre>
 */
public final class Budget {
    /** Wall-clock seconds; 0 for no bound. */
    public final double seconds;
    /** Zeroth-order steps; 0 for the usual number. */
    public final int steps;
    /** Peak memory of the process in MB; 0 for no bound. */
    public final double memoryMb;
    /** What a fit may add on the storage in MB; 0 for no bound. */
    public final double diskMb;

    private Budget(double seconds, int steps, double memoryMb, double diskMb) {
        this.seconds = seconds;
        this.steps = steps;
        this.memoryMb = memoryMb;
        this.diskMb = diskMb;
    }

    /** No bound of its own. */
    public static Budget unlimited() {
        return new Budget(0, 0, 0, 0);
    }

    /** At most so many seconds. Raises UsageException unless positive and finite. */
    public Budget withSeconds(double seconds) {
        return new Budget(checked("seconds", seconds), steps, memoryMb, diskMb);
    }

    /** At most so many steps. Raises UsageException unless positive. */
    public Budget withSteps(int steps) {
        return new Budget(seconds, (int) checked("steps", steps), memoryMb, diskMb);
    }

    /** At most so many MB of memory. Raises UsageException unless positive and finite. */
    public Budget withMemoryMb(double memoryMb) {
        return new Budget(seconds, steps, checked("memoryMb", memoryMb), diskMb);
    }

    /** Adds at most so many MB to the storage. Raises UsageException unless positive and finite. */
    public Budget withDiskMb(double diskMb) {
        return new Budget(seconds, steps, memoryMb, checked("diskMb", diskMb));
    }

    private static double checked(String name, double value) {
        if (!(value > 0) || Double.isInfinite(value)) {
            throw new UsageException(
                    "budget " + name + " is " + value + ", expected a number more than 0.");
        }
        return value;
    }
}
