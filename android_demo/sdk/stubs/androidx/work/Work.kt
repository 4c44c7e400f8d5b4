// The shapes of androidx.work that LearningWorker uses, to compile it where there is no AndroidX:
// never packed, never run. From the documentation of WorkManager 2.9.
package androidx.work

import android.content.Context

class WorkerParameters

class Data

fun workDataOf(vararg pairs: Pair<String, Any?>): Data = throw UnsupportedOperationException()

abstract class ListenableWorker(context: Context, parameters: WorkerParameters) {
    val applicationContext: Context = context

    abstract class Result {
        companion object {
            @JvmStatic fun success(): Result = throw UnsupportedOperationException()
            @JvmStatic fun retry(): Result = throw UnsupportedOperationException()
            @JvmStatic fun failure(output: Data): Result = throw UnsupportedOperationException()
        }
    }
}

abstract class CoroutineWorker(context: Context, parameters: WorkerParameters) :
    ListenableWorker(context, parameters) {
    abstract suspend fun doWork(): Result
}

class Constraints private constructor() {
    class Builder {
        fun setRequiresCharging(required: Boolean): Builder = this
        fun setRequiresDeviceIdle(required: Boolean): Builder = this
        fun setRequiresBatteryNotLow(required: Boolean): Builder = this
        fun build(): Constraints = Constraints()
    }
}

enum class ExistingWorkPolicy { REPLACE, KEEP, APPEND, APPEND_OR_REPLACE }

class OneTimeWorkRequest private constructor() {
    class Builder(worker: Class<out ListenableWorker>) {
        fun setConstraints(constraints: Constraints): Builder = this
        fun build(): OneTimeWorkRequest = OneTimeWorkRequest()
    }
}

abstract class WorkManager {
    abstract fun enqueueUniqueWork(
        name: String, policy: ExistingWorkPolicy, request: OneTimeWorkRequest,
    )

    companion object {
        @JvmStatic fun getInstance(context: Context): WorkManager =
            throw UnsupportedOperationException()
    }
}
