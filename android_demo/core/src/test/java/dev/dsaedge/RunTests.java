package dev.dsaedge;

import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * Runs tests, each in a new instance of its class: no test library is needed.
 *
 * <p>in: a folder of classes; tests are the public methods without parameters of those whose names
 * end in Test<br>
 * out: a line for each test, a stack trace for each that failed; exit code 1 if one did
 */
public final class RunTests {
    private RunTests() {}

    public static void main(String[] args) throws Exception {
        List<String> names = new ArrayList<String>();
        collect(new File(args[0]), "", names);
        Collections.sort(names);
        int failed = 0;
        int passed = 0;
        for (String name : names) {
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

    private static void collect(File folder, String prefix, List<String> names) {
        for (File file : folder.listFiles()) {
            String name = prefix + file.getName();
            if (file.isDirectory()) {
                collect(file, name + ".", names);
            } else if (name.endsWith("Test.class")) {
                names.add(name.substring(0, name.length() - ".class".length()));
            }
        }
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
