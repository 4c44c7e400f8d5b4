package dev.dsaedge;

import java.util.Arrays;
import java.util.Collections;

/** Examples, labels, budgets, conditions. */
public final class ValuesTest {
    public void labelsContinueThePromptAsInPython() {
        Labels labels = new Labels("{text} It was", "terrible", "great");
        Check.equal(Arrays.asList(" terrible", " great"), labels.choices());
        Example example = labels.example(" two hours wasted ", 0);
        Check.equal("two hours wasted It was", example.prompt);
        Check.equal(" terrible", example.response);
        Check.equal(Arrays.asList("a", "b"), new Labels("{text} is ", "a", "b").choices());
        Check.equal(Arrays.asList("a", "b"), new Labels("{text}\n", "a", "b").choices());
    }

    public void labelsThatCannotWorkAreRefused() {
        refusedLabels("no place", "a", "b");
        refusedLabels("{text}", "a");
        refusedLabels("{text}", "a", "a");
        refusedLabels("{text}", "a", "");
        Check.raises(ExampleException.class, "no index below 2", new Check.Work() {
            @Override
            public void run() {
                new Labels("{text}", "a", "b").example("x", 2);
            }
        });
    }

    public void examplesThatCannotBeLearnedAreRefused() {
        refusedExample("p", "");
        refusedExample("p", null);
        refusedExample(null, "r");
        refusedExample("p", "r", "a", "b");
        Check.equal(Example.of("p", "r"), Example.choice("p", "r"));
    }

    public void budgetsThatAllowNothingAreRefused() {
        for (final double bad : new double[] {0, -1, Double.NaN, Double.POSITIVE_INFINITY}) {
            Check.raises(UsageException.class, "more than 0", new Check.Work() {
                @Override
                public void run() {
                    Budget.unlimited().withSeconds(bad);
                }
            });
        }
        Check.equal(7, Budget.unlimited().withSeconds(1.5).withSteps(7).withMemoryMb(9).steps);
    }

    public void gentleConditionsSpareThePhone() {
        Conditions gentle = Conditions.gentle();
        Check.equal(0, gentle.unmet(state(true, 80, 30, 0)).size());
        Check.equal("[it is not on a charger]", gentle.unmet(state(false, 80, 30, 0)));
        Check.equal("[battery 19 %, expected at least 20 %]", gentle.unmet(state(true, 19, 30, 0)));
        Check.equal("[41 °C, expected at most 40 °C]", gentle.unmet(state(true, 80, 41, 0)));
        Check.equal("[it is throttled for heat (status 2)]", gentle.unmet(state(true, 80, 30, 2)));
    }

    public void whatIsUnknownIsNotMet() {
        DeviceState silent = state(false, Double.NaN, Double.NaN, DeviceState.THERMAL_UNKNOWN);
        Check.equal(3, Conditions.gentle().unmet(silent).size());
        Check.equal(Collections.emptyList(), Conditions.none().unmet(silent));
    }

    private static DeviceState state(boolean charging, double battery, double celsius, int heat) {
        return new DeviceState(charging, battery, celsius, heat);
    }

    private static void refusedLabels(final String template, final String... names) {
        Check.raises(UsageException.class, "", new Check.Work() {
            @Override
            public void run() {
                new Labels(template, names);
            }
        });
    }

    private static void refusedExample(final String prompt, final String response,
            final String... choices) {
        Check.raises(ExampleException.class, "", new Check.Work() {
            @Override
            public void run() {
                Example.choice(prompt, response, choices);
            }
        });
    }
}
