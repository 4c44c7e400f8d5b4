package dev.dsaedge;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;

/**
 * Runs the test methods of classes, each in a new instance: no test library is on a phone's dex.
 *
 * <p>in: names of classes, whose tests are their public methods without parameters<br>
 * out: a line for each test, a stack trace for each that failed; exit code 1 if one did
 */
public final class RunTests {
    private RunTests() {}

    public static void main(String[] classes) throws Exception {
        int failed = 0;
        int passed = 0;
        for (String name : classes) {
            for (Method test : Class.forName(name).getDeclaredMethods()) {
                if (isTest(test)) {
                    boolean good = passes(test);
                    passed += good ? 1 : 0;
                    failed += good ? 0 : 1;
                }
            }
        }
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed > 0 || passed == 0 ? 1 : 0);
    }

    private static boolean isTest(Method method) {
        return java.lang.reflect.Modifier.isPublic(method.getModifiers())
                && method.getParameterTypes().length == 0 && !method.getName().equals("close");
    }

    private static boolean passes(Method test) throws Exception {
        Object instance = test.getDeclaringClass().getConstructor().newInstance();
        String name = test.getDeclaringClass().getSimpleName() + "." + test.getName();
        long began = System.currentTimeMillis();
        try {
            test.invoke(instance);
            System.out.println("passed " + name + " " + (System.currentTimeMillis() - began));
            return true;
        } catch (InvocationTargetException error) {
            System.out.println("failed " + name);
            error.getCause().printStackTrace(System.out);
            return false;
        } finally {
            if (instance instanceof java.io.Closeable) {
                ((java.io.Closeable) instance).close();
            }
        }
    }
}
