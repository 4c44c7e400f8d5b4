package dev.dsaedge.demo.logic;

import java.io.File;

/** What the app has of its user on the storage; sizes in bytes. */
public final class Stored {
    public final int examples;
    public final long exampleBytes;
    public final int versions;
    public final long storeBytes;
    public final long bundleBytes;

    Stored(int examples, long exampleBytes, int versions, long storeBytes, long bundleBytes) {
        this.examples = examples;
        this.exampleBytes = exampleBytes;
        this.versions = versions;
        this.storeBytes = storeBytes;
        this.bundleBytes = bundleBytes;
    }

    /** Of a file, or of all files in a folder; 0 if there is none. */
    static long bytesOf(File file) {
        File[] inside = file.listFiles();
        if (inside == null) {
            return file.length();
        }
        long bytes = 0;
        for (File child : inside) {
            bytes += bytesOf(child);
        }
        return bytes;
    }
}
