package dev.dsaedge.android

import dev.dsaedge.Answer
import dev.dsaedge.Budget
import dev.dsaedge.Example
import dev.dsaedge.KeyProvider
import dev.dsaedge.Personalizer
import dev.dsaedge.Privacy
import dev.dsaedge.Progress
import dev.dsaedge.Report
import dev.dsaedge.Version
import java.io.Closeable
import java.io.File
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.ExecutorCoroutineDispatcher
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.isActive
import kotlinx.coroutines.withContext

/** What a fit tells: its steps, then its outcome. */
sealed class Learning {
    /** A step is done and durable, or prompts were read. */
    data class Going(val progress: Progress) : Learning()

    /** The last of a fit. */
    data class Done(val report: Report) : Learning()
}

/**
 * A [Personalizer] for coroutines: all of its work runs on one thread of its own, none on the
 * main thread, and a cancelled coroutine ends the work within one step or token.
 */
class Learner private constructor(
    private val personalizer: Personalizer,
    private val thread: ExecutorCoroutineDispatcher,
) : Closeable {
    private val closed = AtomicBoolean()

    /**
     * Learns from examples. Cold: each collection is a fit of its own. Cancelling the collection
     * ends the fit after its step; what it learned until then is judged and kept.
     *
     * [privacy]: what one example may reveal at most; null for no guarantee. Losses of its steps
     * stay unseen (NaN).
     *
     * Fails with a [dev.dsaedge.DsaEdgeException].
     */
    fun fit(
        examples: List<Example>,
        budget: Budget = Budget.unlimited(),
        privacy: Privacy? = null,
    ): Flow<Learning> =
        channelFlow {
            val scope = this
            val report = personalizer.fit(examples, budget, privacy) { progress ->
                trySend(Learning.Going(progress))
                scope.isActive
            }
            trySend(Learning.Done(report))
        }.unbounded()

    /** Continues a prompt, a piece of text at a time. */
    fun generate(
        prompt: String,
        maxTokens: Int = 40,
        version: Int = Personalizer.ACTIVE,
    ): Flow<String> =
        channelFlow {
            val scope = this
            personalizer.generate(prompt, maxTokens, version) { piece ->
                trySend(piece)
                scope.isActive
            }
        }.unbounded()

    /** The likeliest of several continuations of a prompt. */
    suspend fun choose(
        prompt: String,
        choices: List<String>,
        version: Int = Personalizer.ACTIVE,
    ): Answer = withContext(thread) { personalizer.choose(prompt, choices, version) }

    /** The version in use; 0 is the bundle's initial adapter. */
    suspend fun version(): Int = withContext(thread) { personalizer.version() }

    /** All saved versions, oldest first; 0 is not among them. */
    suspend fun history(): List<Version> = withContext(thread) { personalizer.history() }

    /** Uses an earlier version again. */
    suspend fun rollback(version: Int) = withContext(thread) { personalizer.rollback(version) }

    /** Deletes all that was learned. */
    suspend fun forget() = withContext(thread) { personalizer.forget() }

    /** Ends the fit or the text that runs, and releases the model once that is done. */
    override fun close() {
        if (closed.getAndSet(true)) return
        personalizer.stop()
        thread.executor.execute { personalizer.close() }
        thread.close() // runs what is queued, then ends
    }

    // Neither learning nor generating waits for a slow screen; what is queued is small.
    private fun <T> Flow<T>.unbounded(): Flow<T> = buffer(Channel.UNLIMITED).flowOn(thread)

    companion object {
        /** Opens a bundle for one user. Fails with a [dev.dsaedge.DsaEdgeException]. */
        suspend fun open(bundle: File, store: File, key: KeyProvider?): Learner {
            val thread = Executors.newSingleThreadExecutor().asCoroutineDispatcher()
            try {
                return Learner(
                    withContext(thread) { Personalizer.open(bundle, store, key) },
                    thread,
                )
            } catch (error: Throwable) {
                thread.close()
                throw error
            }
        }
    }
}
