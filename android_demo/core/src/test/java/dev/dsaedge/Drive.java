package dev.dsaedge;

import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Scanner;

/**
 * Drives a real bundle through the Java border, for tests against Python.
 *
 * <pre>
 * Drive BUNDLE STORE fit STEPS FILE        a line a step, then verdict, version and steps
 * Drive BUNDLE STORE slice GOAL FILE       as a job's slice: the same, and how many steps are left
 * Drive BUNDLE STORE choose PROMPT A B …   the choice, then all probabilities
 * Drive BUNDLE STORE generate PROMPT N     the text
 * Drive BUNDLE STORE rollback VERSION
 * Drive BUNDLE STORE history               id, parent, steps and whether it is in use
 * </pre>
 *
 * <p>FILE has examples as JSON lines. GOAL is a file of {@link Goal}; a line on the standard input
 * stops the slice, as a system's scheduler does from another thread. STORE may be "-". The property `seal` seals it, with a key of
 * that number 32 times; `privacy` is an epsilon for `fit`, which then says in a last line what it
 * took. An error is told by its type and message.
 */
public final class Drive {
    private Drive() {}

    public static void main(String[] args) throws Exception {
        File store = args[1].equals("-") ? null : new File(args[1]);
        try {
            Personalizer me = Personalizer.open(new File(args[0]), store, key(), 1);
            say(me, args[2], Arrays.asList(args).subList(3, args.length));
            me.close();
        } catch (DsaEdgeException error) {
            System.out.println(error.getClass().getSimpleName() + ": " + error.getMessage());
            System.exit(1);
        }
    }

    private static KeyProvider key() {
        final Integer filling = Integer.getInteger("seal");
        return filling == null ? null : new KeyProvider() {
            @Override
            public byte[] key(String store, byte[] salt, boolean newStore) {
                byte[] key = new byte[KEY_BYTES];
                Arrays.fill(key, filling.byteValue());
                return key;
            }
        };
    }

    private static void say(Personalizer me, String verb, List<String> rest) throws Exception {
        if (verb.equals("fit")) {
            fit(me, Integer.parseInt(rest.get(0)), read(rest.get(1)));
        } else if (verb.equals("slice")) {
            slice(me, new Goal(new File(rest.get(0))), read(rest.get(1)));
        } else if (verb.equals("choose")) {
            Answer answer = me.choose(rest.get(0), rest.subList(1, rest.size()));
            System.out.println(answer.text);
            for (int i = 0; i < answer.choices.size(); i++) {
                System.out.println(answer.probability(i));
            }
        } else if (verb.equals("generate")) {
            System.out.println(me.generate(rest.get(0), Integer.parseInt(rest.get(1))));
        } else if (verb.equals("rollback")) {
            me.rollback(Integer.parseInt(rest.get(0)));
        } else if (verb.equals("history")) {
            for (Version v : me.history()) {
                System.out.println(v.id + " " + v.parent + " " + v.steps + " " + v.active);
            }
        }
    }

    private static void fit(Personalizer me, int steps, List<Example> examples) {
        String epsilon = System.getProperty("privacy");
        told(me.fit(examples, Budget.unlimited().withSteps(steps),
                epsilon == null ? null : Privacy.of(Double.parseDouble(epsilon)), new Steps()));
    }

    private static void slice(Personalizer me, Goal goal, List<Example> examples) {
        final LearningJob job = new LearningJob(me, new Device() {
            @Override
            public DeviceState read() {
                return new DeviceState(true, 80, 30, 0);
            }
        }, Conditions.none());
        Thread scheduler = new Thread() {
            @Override
            public void run() {
                if (new Scanner(System.in).hasNextLine()) {
                    job.stop();
                }
            }
        };
        scheduler.setDaemon(true);
        scheduler.start();
        told(job.run(examples, goal, new Steps()).report);
        System.out.println(goal.left() + " left");
    }

    private static void told(Report report) {
        System.out.println(report.verdict + ", " + report.version + ", " + report.steps);
        if (report.privacy != null) {
            Spent spent = report.privacy;
            System.out.println(spent.epsilon + " " + spent.delta + " " + spent.noise + " "
                    + spent.share + " " + spent.steps + " " + spent.accountant);
        }
    }

    private static List<Example> read(String file) throws Exception {
        List<Example> examples = new ArrayList<Example>();
        BufferedReader in = new BufferedReader(
                new InputStreamReader(new FileInputStream(file), "UTF-8"));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<?, ?> told = (Map<?, ?>) Json.parse(line);
            List<String> choices = new ArrayList<String>();
            if (told.get("choices") instanceof List) {
                for (Object choice : (List<?>) told.get("choices")) {
                    choices.add((String) choice);
                }
            }
            examples.add(new Example(
                    (String) told.get("prompt"), (String) told.get("response"), choices));
        }
        in.close();
        return examples;
    }

    /** A line for each. */
    private static final class Steps implements ProgressListener {
        @Override
        public boolean onProgress(Progress progress) {
            if (progress.phase == Progress.STEP) {
                System.out.println("step " + progress.done + " " + progress.loss);
            }
            return true;
        }
    }
}
