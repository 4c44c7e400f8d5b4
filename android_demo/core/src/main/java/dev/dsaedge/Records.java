package dev.dsaedge;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The runner's JSON as objects; what it does not hold counts as unknown. */
final class Records {
    private Records() {}

    /** Raises EngineException for what no runner of this version writes. */
    static Report report(byte[] json) {
        Map<?, ?> told = object(json);
        return new Report(String.valueOf(told.get("verdict")), integer(told, "version", 0),
                integer(told, "steps", 0), evaluation(told.get("before")),
                evaluation(told.get("after")), spent(told.get("privacy")));
    }

    /** See {@link #report}. */
    static Evaluation evaluation(byte[] json) {
        return evaluation(object(json));
    }

    /** See {@link #report}. */
    static List<Version> versions(byte[] json) {
        List<Version> versions = new ArrayList<Version>();
        Object listed = object(json).get("versions");
        if (!(listed instanceof List)) {
            throw unreadable("it has no versions");
        }
        for (Object item : (List<?>) listed) {
            versions.add(version(item));
        }
        return versions;
    }

    /** The version in use of the same record. */
    static int active(byte[] json) {
        return integer(object(json), "active", 0);
    }

    /** Examples as JSON lines. */
    static byte[] lines(List<Example> examples) {
        StringBuilder out = new StringBuilder();
        for (Example example : examples) {
            out.append("{\"prompt\":").append(Json.quote(example.prompt));
            out.append(",\"response\":").append(Json.quote(example.response));
            if (!example.choices.isEmpty()) {
                out.append(",\"choices\":").append(array(example.choices));
            }
            out.append("}\n");
        }
        return Native.bytes(out.toString());
    }

    static int integer(Map<?, ?> told, String name, int otherwise) {
        double number = number(told, name);
        return Double.isNaN(number) ? otherwise : (int) number;
    }

    static Map<?, ?> object(byte[] json) {
        try {
            Object parsed = Json.parse(Native.text(json));
            if (parsed instanceof Map) {
                return (Map<?, ?>) parsed;
            }
            throw unreadable("it is no object");
        } catch (IllegalArgumentException error) {
            throw unreadable(error.getMessage());
        }
    }

    private static Version version(Object item) {
        if (!(item instanceof Map)) {
            throw unreadable("a version is no object");
        }
        Map<?, ?> told = (Map<?, ?>) item;
        return new Version(integer(told, "id", 0), integer(told, "parent", Version.NO_PARENT),
                number(told, "created"), String.valueOf(told.get("verdict")),
                integer(told, "steps", 0), Boolean.TRUE.equals(told.get("active")));
    }

    private static Evaluation evaluation(Object told) {
        if (!(told instanceof Map)) {
            return new Evaluation(Double.NaN, Double.NaN);
        }
        Map<?, ?> record = (Map<?, ?>) told;
        return new Evaluation(number(record, "loss"), number(record, "accuracy"));
    }

    private static Spent spent(Object told) {
        if (!(told instanceof Map)) {
            return null;
        }
        Map<?, ?> record = (Map<?, ?>) told;
        return new Spent(number(record, "epsilon"), number(record, "delta"),
                number(record, "noise"), number(record, "share"), integer(record, "steps", 0),
                number(record, "verdict"), String.valueOf(record.get("accountant")));
    }

    private static double number(Map<?, ?> told, String name) {
        Object value = told.get(name);
        return value instanceof Double ? (Double) value : Double.NaN;
    }

    private static String array(List<String> texts) {
        StringBuilder out = new StringBuilder("[");
        for (String text : texts) {
            out.append(out.length() > 1 ? "," : "").append(Json.quote(text));
        }
        return out.append(']').toString();
    }

    private static EngineException unreadable(String why) {
        return new EngineException("the native runner wrote a record that cannot be read (" + why
                + "): use the Java classes and the library of one version.");
    }
}
