package dev.dsaedge;

/** Results on a set of examples. */
public final class Evaluation {
    /** Nats an example over its choices, or nats a token for free responses. */
    public final double loss;
    /** Share of examples whose right choice wins, 0 to 1; NaN without choices. */
    public final double accuracy;

    Evaluation(double loss, double accuracy) {
        this.loss = loss;
        this.accuracy = accuracy;
    }
}
