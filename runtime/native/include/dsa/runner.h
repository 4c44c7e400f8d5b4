/* dsa_runner: learn from one user on the user's device, without Python. A C interface.
 *
 * Rules
 * - A runner serves one call at a time; a second caller waits. `dsa_stop`, `dsa_pause` and
 *   `dsa_resume` may be called from any thread, callbacks included, while another call works.
 * - Texts are UTF-8 and end with a zero byte. Those that come out as `char**` belong to the caller,
 *   who gives them to `dsa_free`; what callbacks get is theirs until they return.
 * - Records are JSON with the names that the Python classes have (docs/native.md lists the fields).
 * - Each function but the few that cannot fail returns DSA_OK or what went wrong. `dsa_last_error`
 *   then has one sentence, fit to be shown: what was expected, what came, and what to do.
 * - No C++ exception leaves a function. Callbacks must not throw, nor call the same runner, the
 *   three functions above aside.
 * - Structs begin with their own size, so that new fields can be added at the end:
 *   `dsa_open_options options = DSA_OPEN_OPTIONS;` and then what differs from the usual. All null
 *   pointers and zeros mean the usual. Code built against an older header keeps working.
 */
#ifndef DSA_RUNNER_H
#define DSA_RUNNER_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define DSA_API
#else
#define DSA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define DSA_ABI_VERSION 1 /* changes when code built against an older header would break */

/* What went wrong; the names are those of the Python exceptions. Numbers never change. */
typedef enum dsa_status {
  DSA_OK = 0,
  DSA_INTERNAL = 1, /* a fault of the library itself, or no memory */
  DSA_USAGE = 2,    /* a wrong call or option */
  DSA_BUNDLE = 3,   /* bundle missing, damaged, or of another version or backend */
  DSA_ADAPTER = 4,  /* adapter unreadable, or made for another bundle */
  DSA_EXAMPLE = 5,  /* examples malformed, empty, or unusable */
  DSA_ENGINE = 6,   /* the inference engine refused or failed; an operator is missing */
  DSA_BUDGET = 7,   /* the work cannot fit the memory, time or disk allowed */
  DSA_PRIVACY = 8,  /* a privacy guarantee cannot be kept */
  DSA_STORE = 9,    /* the store cannot be read or written, or another program is changing it */
  DSA_DAMAGED = 10, /* what the store held is no longer what was written */
  DSA_WRONG_KEY = 11, /* the store is sealed with another key, or its key is missing */
  DSA_TAMPERED = 12,  /* something without the key changed the store */
  DSA_STOPPED = 13    /* `dsa_stop` or a callback ended the call before it had a result */
} dsa_status;

typedef struct dsa_runner dsa_runner;

/* Version of the library, such as "0.1.0", and of this interface. Never fail. */
DSA_API const char* dsa_version(void);
DSA_API int32_t dsa_abi_version(void);

/* The last error of this thread, "" before any; valid until the thread's next call. */
DSA_API const char* dsa_last_error(void);

/* Gives back a text that came out of a function; null is allowed. */
DSA_API void dsa_free(char* text);

/* Writes 32 bytes to `key`: the key of a sealed store, the same each time for one store and salt.
 * store: its id. salt: its 16 random bytes. new_store: 1 where nothing is sealed with the key yet,
 * so that a secret may be made; otherwise a missing secret must be an error.
 * Returns 0, or another number where there is no such key. */
typedef int32_t (*dsa_key_callback)(void* context, const char* store, const uint8_t* salt,
                                    int32_t new_store, uint8_t* key);

typedef struct dsa_open_options {
  size_t size;
  const char* store;      /* the user's folder, created when missing; null keeps all in memory */
  int32_t threads;        /* of the engine; 0 takes all cores */
  int32_t skip_hashes;    /* 1: check that files exist and have their sizes, do not read them all */
  int32_t layers_kept;    /* layers in memory at most, the others come from storage; 0 keeps all */
  dsa_key_callback key;   /* seals a new store and opens a sealed one; null for none */
  void* key_context;
} dsa_open_options;
#define DSA_OPEN_OPTIONS {sizeof(dsa_open_options), NULL, 0, 0, 0, NULL, NULL}

/* Opens a bundle for one user. On an error `*out` is null. options: null for the usual. */
DSA_API dsa_status dsa_open(const char* bundle, const dsa_open_options* options, dsa_runner** out);

/* Frees the engine and closes the store; waits for a call that still works. Null is allowed. */
DSA_API void dsa_close(dsa_runner* runner);

/* JSON: bundle, identity, base, licence, layers, split_layer, adapter_size, backend, kernels,
 * threads, version in use, damaged versions, sealed, store_bytes. */
DSA_API dsa_status dsa_info(dsa_runner* runner, char** json);

/* ---- using what was learned ---------------------------------------------------------------- */

#define DSA_IN_USE (-1) /* as a version: the one in use. 0 is the bundle's initial adapter. */

/* The likeliest continuation of a prompt out of `count` >= 2. index: of it.
 * probabilities: (count,) in the given order, or null. */
DSA_API dsa_status dsa_choose(dsa_runner* runner, const char* prompt, const char* const* choices,
                              size_t count, int32_t version, int32_t* index,
                              double* probabilities);

typedef struct dsa_use_options {
  size_t size;
  int32_t version;        /* DSA_IN_USE or a version */
  double memory_mb;       /* peak memory of the process; 0 for no bound */
  int32_t base;           /* 1: `dsa_evaluate_with` measures the bundle's initial adapter as well */
} dsa_use_options;
#define DSA_USE_OPTIONS {sizeof(dsa_use_options), DSA_IN_USE, 0.0, 0}

/* The same within a bound of memory: prompts that are too long for it run in parts, and layers that
 * it has no room for come from storage. DSA_BUDGET where it is too little for that.
 * options: null for the usual. */
DSA_API dsa_status dsa_choose_with(dsa_runner* runner, const char* prompt,
                                   const char* const* choices, size_t count,
                                   const dsa_use_options* options, int32_t* index,
                                   double* probabilities);

/* Gets the next piece of a text, as soon as it is certain. Returns 0 to go on; others stop. */
typedef int32_t (*dsa_text_callback)(void* context, const char* piece);

typedef struct dsa_generate_options {
  size_t size;
  int32_t max_tokens;     /* 0: 40 */
  double temperature;     /* 0 takes the likeliest token */
  double top_p;           /* share of probability mass kept; 0: 1 */
  uint64_t seed;          /* of the draws */
  int32_t version;        /* DSA_IN_USE or a version */
  double memory_mb;       /* peak memory of the process; 0 for no bound */
} dsa_generate_options;
#define DSA_GENERATE_OPTIONS {sizeof(dsa_generate_options), 0, 0.0, 0.0, 0, DSA_IN_USE, 0.0}

/* Continues a prompt. on_text: called with the pieces, or null. text: the whole, or null.
 * A stop by `on_text` or `dsa_stop` is no error: the text ends there. */
DSA_API dsa_status dsa_generate(dsa_runner* runner, const char* prompt,
                                const dsa_generate_options* options, dsa_text_callback on_text,
                                void* context, char** text);

/* Renders a chat as a prompt, with the opening of an answer, as the base's own template does:
 * `messages` is a JSON list of {role, content}. What they say stays text, special tokens too.
 * DSA_EXAMPLE where the base has no template, or for roles and orders that it does not render. */
DSA_API dsa_status dsa_chat(dsa_runner* runner, const char* messages, char** prompt);

/* A user's text as it may stand in a prompt: special tokens that it holds stay text. */
DSA_API dsa_status dsa_plain(dsa_runner* runner, const char* text, char** plain);

/* JSON list of the token ids of a prompt. */
DSA_API dsa_status dsa_tokens(dsa_runner* runner, const char* prompt, char** json);

/* ---- learning ------------------------------------------------------------------------------ */

/* Examples are JSON Lines, one object a line: {"prompt", "response", "choices"?},
 * {"messages": [...]}, or {"text", "label"} with a template and labels. */
typedef struct dsa_examples {
  size_t size;
  const char* lines;          /* the examples themselves, or null */
  const char* path;           /* or a file of them, or null */
  const char* template_text;  /* "{text} It was", or null */
  const char* const* labels;  /* the words that answer, one a class */
  size_t label_count;
} dsa_examples;
#define DSA_EXAMPLES {sizeof(dsa_examples), NULL, NULL, NULL, NULL, 0}

/* How a call over many examples goes on. */
typedef enum dsa_phase {
  DSA_PROMPTS = 0, /* prompts are being cached; `done` of `total` */
  DSA_STEPS = 1,   /* a step is done and durable */
  DSA_PAUSED = 2,  /* the run waits; `reason` says for what */
  DSA_RESUMED = 3
} dsa_phase;

typedef struct dsa_progress {
  size_t size;
  dsa_phase phase;
  int64_t done, total;        /* prompts or steps; total 0 where it is not known */
  double loss;                /* of a step: mean over lanes and batch, nats; NaN else */
  double held_out_loss;       /* NaN where it was not measured */
  double held_out_accuracy;   /* NaN where it was not measured */
  double seconds;             /* since the call began */
  int64_t tokens;             /* response tokens run so far, times lanes */
  const char* reason;         /* of a pause, else "" */
} dsa_progress;

/* Returns 0 to go on; others end a fit as its budget would: with a verdict on what it has learned
 * by then. */
typedef int32_t (*dsa_progress_callback)(void* context, const dsa_progress* progress);

/* JSON of examples, loss and accuracy (null without choices). */
DSA_API dsa_status dsa_evaluate(dsa_runner* runner, const dsa_examples* examples, int32_t version,
                                dsa_progress_callback on_progress, void* context, char** json);

/* The same within a bound of memory, as `dsa_choose_with` has it. With `base` the JSON has two more:
 * version, and base with the fields of a version; both share the cached prompts, so that comparing
 * costs little more than measuring. options: null for the usual. */
DSA_API dsa_status dsa_evaluate_with(dsa_runner* runner, const dsa_examples* examples,
                                     const dsa_use_options* options,
                                     dsa_progress_callback on_progress, void* context,
                                     char** json);

/* Asks an app whether the device may learn now: before the first prompt, and then at most every
 * `check_seconds`. Returns null where it may, else why not in a short phrase, which stays valid
 * until the next call of it. */
typedef const char* (*dsa_condition_callback)(void* context);

/* Differential privacy: what one example may reveal at most, over all fits of a store. Such a fit
 * is always a new one: an interrupted one counts in full, and is not gone on with. */
typedef struct dsa_privacy {
  size_t size;
  double epsilon; /* more than 0; 8 is weak, 1 strong */
  double delta;   /* chance that the bound fails, below 1 / examples; 0: 1e-5 */
  int64_t batch;  /* examples a step, on average; 0: 32 */
} dsa_privacy;
#define DSA_PRIVACY_OPTIONS {sizeof(dsa_privacy), 0, 0, 0}

typedef struct dsa_fit_options {
  size_t size;
  /* the budget; 0 leaves a bound to the defaults */
  double seconds;             /* of work; pauses do not count */
  int64_t steps;
  double memory_mb;           /* peak of the process */
  double disk_mb;
  /* what to learn with */
  const char* hyperparameters; /* JSON object of those that differ from the bundle's; or null */
  uint64_t seed;              /* below 2^63 */
  int32_t remember;           /* 1: keep the examples in the store */
  int32_t replay;             /* remembered examples to learn from beside the new ones */
  /* when it may run: a pause begins when a condition is no longer met */
  dsa_condition_callback condition;
  void* condition_context;
  int32_t charging;           /* 1: on external power alone. On Linux, from what the system tells */
  double battery;             /* percent at least; 0 for none */
  double celsius;             /* hottest zone at most; 0 for none */
  double idle;                /* share of the cores that others may use; 0 for none */
  double check_seconds;       /* 0: 5 */
  const dsa_privacy* privacy; /* a guarantee, which needs some hundreds of examples; or null */
} dsa_fit_options;
#define DSA_FIT_OPTIONS \
  {sizeof(dsa_fit_options), 0, 0, 0, 0, NULL, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, NULL}

/* Learns from examples, starting from the version in use. Part of them is held out; unless the loss
 * on those improves, the version in use stays. Each step is durable before the next begins: a
 * process that dies in mid-run loses nothing that was there, and `dsa_history` lists the run.
 * report: JSON of verdict, version, steps, before, after, hyperparameters and the rest. */
DSA_API dsa_status dsa_fit(dsa_runner* runner, const dsa_examples* examples,
                           const dsa_fit_options* options, dsa_progress_callback on_progress,
                           void* context, char** report);

/* JSON: what `dsa_fit` would take: steps, seconds, peak_mb, disk_mb, from a short trial. */
DSA_API dsa_status dsa_plan(dsa_runner* runner, const dsa_examples* examples,
                            const dsa_fit_options* options, char** json);

/* Ends the call that works as soon as it can: a fit after its step and with a verdict, a generation
 * with its text so far, others with DSA_STOPPED. Without a call that works, nothing. */
DSA_API void dsa_stop(dsa_runner* runner);

/* Holds a fit back before its next step, until `dsa_resume`. reason: told to `on_progress`. */
DSA_API void dsa_pause(dsa_runner* runner, const char* reason);
DSA_API void dsa_resume(dsa_runner* runner);

/* ---- what was learned ---------------------------------------------------------------------- */

/* JSON: active version, damaged ones, versions and fits, oldest first. */
DSA_API dsa_status dsa_history(dsa_runner* runner, char** json);

/* Uses an earlier version again; 0 is the bundle's initial adapter. */
DSA_API dsa_status dsa_rollback(dsa_runner* runner, int32_t version);

/* Deletes all that was learned, or with ids (16 hex digits each) all that was learned from those
 * examples. json: versions that are gone, and the one in use; or null. */
DSA_API dsa_status dsa_forget(dsa_runner* runner, const char* const* ids, size_t count,
                              char** json);

/* JSON list of the ids of examples, in their order. */
DSA_API dsa_status dsa_example_ids(dsa_runner* runner, const dsa_examples* examples, char** json);

/* Writes the adapter in use to a file, and makes a new version of one. */
DSA_API dsa_status dsa_save_adapter(dsa_runner* runner, const char* path);
DSA_API dsa_status dsa_load_adapter(dsa_runner* runner, const char* path, int32_t* version);

/* Rebuilds what a fit learned from its journal alone, to the bit, and writes it to a file as an
 * adapter. fit: its id, 0 for the last one. steps: how many of its steps, negative for all.
 * json: fit, steps, sha256 of the numbers (float32, little-endian); or null. path: or null. */
DSA_API dsa_status dsa_replay(dsa_runner* runner, int32_t fit, int64_t steps, const char* path,
                              char** json);

/* Seals the store under the key of a callback, or with null unseals it: all of it, or nothing. */
DSA_API dsa_status dsa_rekey(dsa_runner* runner, dsa_key_callback key, void* context);

/* ---- without a user ------------------------------------------------------------------------ */

/* JSON: version, executorch, operators, kernels, threads, cores, memory; with a bundle also whether
 * each of its parts can be used here, and why not. bundle: or null. */
DSA_API dsa_status dsa_doctor(const char* bundle, char** json);

#ifdef __cplusplus
}
#endif

#endif
