package dev.dsaedge.android

import android.app.Application
import androidx.work.WorkerParameters
import dev.dsaedge.Check
import dev.dsaedge.Conditions
import dev.dsaedge.Goal
import dev.dsaedge.Personalizer
import dev.dsaedge.Privacy
import dev.dsaedge.Progress
import java.io.File
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope

// The WorkManager job on a JVM, as WorkManager's coroutines run and cancel it.

private class Night(
    private val store: String,
    private val goal: Goal,
    private val asked: Conditions = Conditions.gentle(),
    private val guarantee: Privacy? = null,
) : LearningWorker(Application(), WorkerParameters()) {
    val began = CompletableDeferred<Unit>()

    override fun open(): Personalizer = Personalizer.open(File("smol.dsa"), File(store), null)

    override fun examples(personalizer: Personalizer) = examples + examples

    override fun goal() = goal

    override fun conditions() = asked

    override fun privacy() = guarantee

    override fun onProgress(progress: Progress) {
        if (progress.phase == Progress.STEP) began.complete(Unit)
    }
}

private fun goalOf(steps: Int): Goal {
    val file = File.createTempFile("goal", "")
    file.deleteOnExit()
    return Goal(file).apply { set(steps) }
}

internal suspend fun aWorkerReachesItsGoal() {
    val goal = goalOf(5)
    Check.equal("success", Night("night a", goal).doWork().name)
    Check.equal(0, goal.left())
}

internal suspend fun aStoppedWorkerIsTakenUpAgain() = coroutineScope {
    val goal = goalOf(200)
    val first = Night("night slow", goal)
    val running = async(Dispatchers.Default) { first.doWork() }
    first.began.await()
    running.cancelAndJoin() // as WorkManager does when the charger is pulled
    Check.that(goal.left() in 1..199, "some of it is done: ${goal.left()}")
    goal.add(goal.left() - 3)
    Check.equal("success", Night("night slow", goal).doWork().name)
    val versions = Personalizer.open(File("smol.dsa"), File("night slow"), null)
        .use { it.history() }
    Check.equal(listOf(0, 1), versions.map { it.parent }) // the second learned on from the first
}

internal suspend fun aWorkerTellsWhyItFailed() {
    for ((store, words) in mapOf("readonly" to "check its folder", "full" to "free some space")) {
        val goal = goalOf(5)
        val result = Night("night $store", goal).doWork()
        Check.equal("failure", result.name)
        val told = result.output?.values?.get(LearningWorker.ERROR).toString()
        Check.that(words in told, told)
        Check.equal(5, goal.left()) // for the app to ask again, once that is mended
    }
}

internal suspend fun aWorkerWaitsForItsConditions() {
    val goal = goalOf(5)
    val cold = Conditions.none().withCelsius(10.0) // the stand-in's battery has 25 degrees
    Check.equal("retry", Night("night b", goal, cold).doWork().name)
    Check.equal(5, goal.left())
}

internal suspend fun aPrivateNightIsOneRun() = coroutineScope {
    val goal = goalOf(200)
    val first = Night("private slow", goal, guarantee = Privacy.of(8.0))
    val running = async(Dispatchers.Default) { first.doWork() }
    first.began.await()
    running.cancelAndJoin()
    Check.equal(0, goal.left()) // the guarantee is spent: to go on would need a larger epsilon
    goal.set(5)
    val result = Night("private slow", goal, guarantee = Privacy.of(8.0)).doWork()
    Check.that("already spent" in result.output?.values?.get(LearningWorker.ERROR).toString(), "why")
}
