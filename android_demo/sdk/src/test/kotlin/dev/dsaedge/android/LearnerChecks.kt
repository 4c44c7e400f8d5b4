package dev.dsaedge.android

import dev.dsaedge.BundleException
import dev.dsaedge.Budget
import dev.dsaedge.Check
import dev.dsaedge.Example
import dev.dsaedge.Privacy
import dev.dsaedge.PrivacyException
import dev.dsaedge.Progress
import java.io.File
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList

// Coroutines over the simulated runner, on a JVM: flows, cancellation, errors.

internal val examples = listOf(
    Example.choice("It was", " terrible", " terrible", " great"),
    Example.choice("It was", " great", " terrible", " great"),
)

private suspend fun learner(store: String) = Learner.open(File("smol.dsa"), File(store), null)

internal suspend fun learnsAsAFlow() = learner("a").use { me ->
    val told = me.fit(examples, Budget.unlimited().withSteps(5)).toList()
    val steps = told.filterIsInstance<Learning.Going>().map { it.progress }
        .filter { it.phase == Progress.STEP }
    Check.equal(listOf(1, 2, 3, 4, 5), steps.map { it.done })
    Check.equal(1, (told.last() as Learning.Done).report.version)
    Check.equal(" great", me.choose("It was", listOf(" terrible", " great")).text)
    me.rollback(0)
    Check.equal(0, me.version())
}

internal suspend fun aCancelledCollectionEndsTheFit() = learner("b").use { me ->
    me.fit(examples, Budget.unlimited().withSteps(100_000)).take(4).toList()
    val made = me.history().last() // waits for the fit: one thread does all
    Check.equal(1, made.id)
    Check.that(made.steps < 1000, "it ended early: ${made.steps}")
}

internal suspend fun closingEndsTheFit() {
    val me = learner("e")
    val told = me.fit(examples, Budget.unlimited().withSteps(100_000))
        .onEach { if (it is Learning.Going && it.progress.phase == Progress.STEP) me.close() }
        .toList()
    Check.that((told.last() as Learning.Done).report.steps < 1000, "it ended early, with a verdict")
}

internal suspend fun generatesInPieces() = learner("c").use { me ->
    Check.equal(listOf("a", "é", "\uD83D\uDE00"), me.generate("aé\uD83D\uDE00").toList())
    Check.equal("a", me.generate("abc").first())
}

internal suspend fun errorsArriveTyped() {
    try {
        Learner.open(File("damaged.dsa"), File("d"), null)
    } catch (error: BundleException) {
        return
    }
    throw AssertionError("expected a BundleException")
}

internal suspend fun aPrivateFitTellsWhatItTook() = learner("f").use { me ->
    val told = me.fit(examples + examples, Budget.unlimited().withSteps(5), Privacy.of(8.0)).toList()
    val spent = (told.last() as Learning.Done).report.privacy
    Check.equal("8.0 rdp 5", "${spent.epsilon} ${spent.accountant} ${spent.steps}")
    try {
        me.fit(examples + examples, privacy = Privacy.of(8.0)).toList()
    } catch (error: PrivacyException) {
        return@use
    }
    throw AssertionError("expected a PrivacyException")
}
