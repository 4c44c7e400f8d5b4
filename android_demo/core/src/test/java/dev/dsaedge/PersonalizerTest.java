package dev.dsaedge;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** The Java border against the simulated runner: all calls, and what can go wrong in each. */
public final class PersonalizerTest extends Folder {
    private static final List<String> CHOICES = Arrays.asList(" terrible", " great");
    private static final Budget SHORT = Budget.unlimited().withSteps(10);

    private final Personalizer me = open("smol.dsa", "store", null);

    @Override
    public void close() {
        me.close();
        super.close();
    }

    public void learnsChoosesAndRollsBack() {
        Steps steps = new Steps(Integer.MAX_VALUE);
        Report report = me.fit(examples(), SHORT, steps);
        Check.equal(Report.IMPROVED, report.verdict);
        Check.equal("1 10", report.version + " " + report.steps);
        Check.that(report.after.loss < report.before.loss, "the loss fell");
        Check.equal(Double.NaN, report.after.accuracy);
        Check.equal("prompts 1, prompts 2, steps 1 to 10", steps.told());
        Answer answer = me.choose("It was", CHOICES);
        Check.equal(" great", answer.text);
        Check.equal(0.75, answer.probability(1));
        Check.equal(" terrible", me.choose("It was", CHOICES, 0).text);
        me.rollback(0);
        Check.equal(" terrible", me.choose("It was", CHOICES).text);
    }

    public void keepsWhatWasLearnedForTheNextTime() {
        me.fit(examples(), SHORT, null);
        me.close();
        Personalizer again = open("smol.dsa", "store", null);
        List<Version> versions = again.history();
        Check.equal(1, versions.size());
        Version first = versions.get(0);
        Check.equal("1 0 10 true 1.5E9", first.id + " " + first.parent + " " + first.steps + " "
                + first.active + " " + first.created);
        Check.equal(1, again.version());
        again.forget();
        Check.equal(0, again.version());
        Check.equal(0, again.history().size());
        again.close();
    }

    public void textsComeBackAsTheyWent() {
        for (String text : new String[] {
            "", "é", "日本語", "\uD83D\uDE00 👩‍👩‍👧", "\u0001\u007F\uFFFF"}) {
            Check.equal(text, me.plain(text));
            Check.equal(text, me.generate(text, 100));
        }
    }

    public void halfACharacterIsReplacedByAQuestionMark() {
        Check.equal("a?b", me.plain("a\uD83Db"));
    }

    public void aNulIsRefused() {
        Check.raises(UsageException.class, "NUL", new Check.Work() {
            @Override
            public void run() {
                me.plain("a\0b");
            }
        });
        // In an example JSON can say it, so it reaches the runner as any character does.
        me.fit(Arrays.asList(Example.of("a\0b", "c\0d")), SHORT, null);
    }

    public void textComesInPiecesAndStopsWhenTold() {
        final List<String> pieces = new ArrayList<String>();
        String text = me.generate("a\uD83D\uDE00bcd", 10, Personalizer.ACTIVE, new TokenListener() {
            @Override
            public boolean onText(String piece) {
                pieces.add(piece);
                return pieces.size() < 3;
            }
        });
        Check.equal("[a, \uD83D\uDE00, b]", pieces);
        Check.equal("a\uD83D\uDE00b", text);
    }

    public void aLongTextLeavesNoReferencesBehind() {
        char[] letters = new char[20000]; // the table of references holds some hundreds
        Arrays.fill(letters, 'a');
        Check.equal(20000, me.generate(new String(letters), 20000).length());
    }

    public void aFitStopsAfterTheStepThatSaysSo() {
        Check.equal(3, me.fit(examples(), SHORT, new Steps(3)).steps);
    }

    public void aFitStopsWhenAnotherThreadSaysSo() throws Exception {
        final Thread stopper = new Thread() {
            @Override
            public void run() {
                me.stop();
            }
        };
        Report report = me.fit(examples(), Budget.unlimited().withSteps(100000),
                new ProgressListener() {
                    @Override
                    public boolean onProgress(Progress progress) {
                        if (progress.phase == Progress.STEP && progress.done == 1) {
                            stopper.start();
                        }
                        return true;
                    }
                });
        stopper.join();
        Check.that(report.steps < 100000, "it ended early, with a verdict: " + report.steps);
        me.close();
        me.stop(); // of a closed one: nothing
    }

    public void whatAListenerThrowsArrives() {
        Check.raises(IllegalStateException.class, "of the app", new Check.Work() {
            @Override
            public void run() {
                me.fit(examples(), SHORT, new ProgressListener() {
                    @Override
                    public boolean onProgress(Progress progress) {
                        throw new IllegalStateException("of the app");
                    }
                });
            }
        });
        Check.equal(5, me.fit(examples(), Budget.unlimited().withSteps(5), null).steps);
    }

    public void aListenerMustNotCallItsOwnPersonalizer() {
        Check.raises(UsageException.class, "return from the listener first", new Check.Work() {
            @Override
            public void run() {
                me.generate("abc", 3, Personalizer.ACTIVE, new TokenListener() {
                    @Override
                    public boolean onText(String piece) {
                        me.close();
                        return true;
                    }
                });
            }
        });
        Check.equal("abc", me.generate("abc", 3));
    }

    public void aClosedOneSaysSo() {
        me.close();
        me.close();
        Check.raises(UsageException.class, "is closed", new Check.Work() {
            @Override
            public void run() {
                me.history();
            }
        });
    }

    public void wrongCallsAreRefused() {
        Check.raises(UsageException.class, "no such version", new Check.Work() {
            @Override
            public void run() {
                me.rollback(99);
            }
        });
        Check.raises(UsageException.class, "two distinct", new Check.Work() {
            @Override
            public void run() {
                me.choose("p", Arrays.asList("a", "a"));
            }
        });
        Check.raises(UsageException.class, "maxTokens is 0", new Check.Work() {
            @Override
            public void run() {
                me.generate("p", 0);
            }
        });
        Check.raises(ExampleException.class, "no examples", new Check.Work() {
            @Override
            public void run() {
                me.fit(new ArrayList<Example>(), SHORT, null);
            }
        });
        Check.raises(BudgetException.class, "raise it", new Check.Work() {
            @Override
            public void run() {
                me.fit(examples(), Budget.unlimited().withMemoryMb(1), null);
            }
        });
        Check.raises(AdapterException.class, "another bundle", new Check.Work() {
            @Override
            public void run() {
                me.loadAdapter(new File("foreign.safetensors"));
            }
        });
    }

    public void aFitThatIsEndedBeforeItsFirstStepSaysSo() {
        Check.raises(StoppedException.class, "nothing was changed", new Check.Work() {
            @Override
            public void run() {
                me.fit(examples(), SHORT, new Steps(0));
            }
        });
    }

    public void evaluatesAndMovesAdapters() {
        Evaluation evaluation = me.evaluate(examples());
        Check.equal("2.0 0.5", evaluation.loss + " " + evaluation.accuracy);
        me.saveAdapter(new File(folder, "me.safetensors"));
        Check.equal(1, me.loadAdapter(new File(folder, "me.safetensors")));
    }

    public void manyThreadsWaitForEachOther() throws Exception {
        Thread[] threads = new Thread[8];
        final List<Integer> steps = Collections.synchronizedList(new ArrayList<Integer>());
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread() {
                @Override
                public void run() {
                    steps.add(me.fit(examples(), SHORT, null).steps);
                }
            };
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        Check.equal("[10, 10, 10, 10, 10, 10, 10, 10]", steps);
        Check.equal(8, me.history().size());
    }

    static List<Example> examples() {
        return Arrays.asList(
                Example.choice("\"Quoted\" \\ text\n It was", " terrible", " terrible", " great"),
                Example.choice("A smile \uD83D\uDE00 It was", " great", " terrible", " great"));
    }

    private Personalizer open(String bundle, String store, KeyProvider keys) {
        return Personalizer.open(new File(folder, bundle), new File(folder, store), keys);
    }

    /** Counts, and stops after a number of steps; 0 stops at the first prompt. */
    private static final class Steps implements ProgressListener {
        private final int most;
        private final StringBuilder told = new StringBuilder();
        private int last;

        Steps(int most) {
            this.most = most;
        }

        @Override
        public boolean onProgress(Progress progress) {
            if (progress.phase == Progress.PROMPTS) {
                told.append("prompts ").append(progress.done).append(", ");
                return most > 0;
            }
            Check.equal(last + 1, progress.done);
            last = progress.done;
            return progress.done < most;
        }

        String told() {
            return told + "steps 1 to " + last;
        }
    }
}
