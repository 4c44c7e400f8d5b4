// The shapes of androidx.work that LearningWorker uses, to compile and try it where there is no
// AndroidX; never packed. From the documentation of WorkManager 2.9.
package androidx.work

import android.content.Context

class WorkerParameters

class Data(val values: Map<String, Any?>)

fun workDataOf(vararg pairs: Pair<String, Any?>): Data = Data(pairs.toMap())

abstract class ListenableWorker(context: Context, parameters: WorkerParameters) {
    val applicationContext: Context = context

    abstract class Result(val name: String, val output: Data?) {
        private class Named(name: String, output: Data? = null) : Result(name, output)

        companion object {
            @JvmStatic fun success(): Result = Named("success")
            @JvmStatic fun retry(): Result = Named("retry")
            @JvmStatic fun failure(output: Data): Result = Named("failure", output)
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
