package dev.dsaedge;

import java.util.Random;

/** JSON as Python and C++ write it, and what is none. */
public final class JsonTest {
    public void readsWhatRunnersWrite() {
        Check.equal("{a=[1.0, -2500.0, true, null], b={}, c=[], d=x}",
                Json.parse(" {\"a\": [1, -2.5e3, true, null], \"b\": {}, \"c\" : [ ],"
                        + "\"d\":\"x\"}\n"));
        Check.equal("[NaN, Infinity, -Infinity]", Json.parse("[NaN, Infinity, -Infinity]"));
        Check.equal("\"\\/\b\f\n\r\t\u20AC\uD83D\uDE00",
                Json.parse("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u20ac\\ud83d\\ude00\""));
    }

    public void whatItQuotesItReads() {
        Random random = new Random(0);
        for (int i = 0; i < 1000; i++) {
            StringBuilder text = new StringBuilder();
            for (int c = random.nextInt(20); c > 0; c--) {
                text.append((char) random.nextInt(random.nextBoolean() ? 128 : 0x10000));
            }
            Check.equal(text, Json.parse(Json.quote(text.toString())));
        }
    }

    public void whatIsNoJsonIsRefused() {
        for (final String text : new String[] {"", " ", "{", "[", "[1", "[1,", "[,1]", "{\"a\"}",
            "{\"a\":}", "{a:1}", "\"", "\"\\", "\"\\u12\"", "\"\\u12g4\"", "nul", "1 2", "[1]]",
            "--1", deep(100000)}) {
            Check.raises(IllegalArgumentException.class, "", new Check.Work() {
                @Override
                public void run() {
                    try {
                        Json.parse(text);
                    } catch (NumberFormatException error) { // is one, but not of this very type
                        throw new IllegalArgumentException(error.getMessage());
                    }
                }
            });
        }
    }

    private static String deep(int levels) {
        char[] open = new char[levels];
        java.util.Arrays.fill(open, '[');
        return new String(open);
    }
}
