package dev.dsaedge.android

import android.content.Context
import androidx.work.Constraints
import androidx.work.CoroutineWorker
import androidx.work.ExistingWorkPolicy
import androidx.work.OneTimeWorkRequest
import androidx.work.WorkManager
import androidx.work.WorkerParameters
import androidx.work.workDataOf
import dev.dsaedge.Conditions
import dev.dsaedge.DsaEdgeException
import dev.dsaedge.Example
import dev.dsaedge.Goal
import dev.dsaedge.LearningJob
import dev.dsaedge.Personalizer
import dev.dsaedge.Privacy
import dev.dsaedge.Progress
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.isActive
import kotlinx.coroutines.withContext

/**
 * Learns while the phone charges, is idle and has no low battery; an app says from what.
 *
 * A run is one slice. When WorkManager stops it, or its time is over, it ends within one step,
 * keeps what it learned, and the next run goes on towards the same goal. A process that is killed
 * leaves a whole store behind.
 */
abstract class LearningWorker(context: Context, parameters: WorkerParameters) :
    CoroutineWorker(context, parameters) {

    /** Opens the user's model; closed when the slice ends. */
    abstract fun open(): Personalizer

    /** What to learn from. */
    abstract fun examples(personalizer: Personalizer): List<Example>

    /** Where the steps to do are kept. */
    abstract fun goal(): Goal

    /** What the phone must be like besides what WorkManager was asked for. */
    open fun conditions(): Conditions = Conditions.gentle()

    /** What one example may reveal at most. With a guarantee the goal has one run. */
    open fun privacy(): Privacy? = null

    /** Hears how a fit goes on, on the thread that learns. */
    open fun onProgress(progress: Progress) {}

    override suspend fun doWork(): Result = withContext(Dispatchers.IO) {
        val scope = this
        try {
            val slice = open().use { personalizer ->
                val job = LearningJob(
                    personalizer, AndroidDevice(applicationContext), conditions(), privacy(),
                )
                job.run(examples(personalizer), goal()) { progress ->
                    onProgress(progress)
                    scope.isActive // false once WorkManager stops this worker
                }
            }
            if (slice.left > 0) Result.retry() else Result.success()
        } catch (error: DsaEdgeException) {
            Result.failure(workDataOf(ERROR to error.message))
        }
    }

    companion object {
        /** Key of the output of a failed run: an error that an app can show. */
        const val ERROR = "error"

        /** Asks WorkManager for runs of a worker until its goal is reached; one at a time. */
        fun schedule(context: Context, name: String, worker: Class<out LearningWorker>) {
            val constraints = Constraints.Builder()
                .setRequiresCharging(true)
                .setRequiresDeviceIdle(true)
                .setRequiresBatteryNotLow(true)
                .build()
            // No backoff of its own: WorkManager refuses one for work that waits for idleness.
            val request = OneTimeWorkRequest.Builder(worker).setConstraints(constraints).build()
            WorkManager.getInstance(context)
                .enqueueUniqueWork(name, ExistingWorkPolicy.KEEP, request)
        }
    }
}
