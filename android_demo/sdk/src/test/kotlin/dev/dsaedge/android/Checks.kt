package dev.dsaedge.android

import kotlinx.coroutines.runBlocking

/** Runs all checks of sdk/; the first that fails ends the program. */
fun main() = runBlocking {
    val checks = listOf<suspend () -> Unit>(
        ::learnsAsAFlow,
        ::aCancelledCollectionEndsTheFit,
        ::closingEndsTheFit,
        ::generatesInPieces,
        ::errorsArriveTyped,
        ::aPrivateFitTellsWhatItTook,
        ::aWorkerReachesItsGoal,
        ::aStoppedWorkerIsTakenUpAgain,
        ::aWorkerTellsWhyItFailed,
        ::aPrivateNightIsOneRun,
        ::aWorkerWaitsForItsConditions,
    )
    for (check in checks) check()
    println("${checks.size} passed, 0 failed")
}
