/* A stand-in for the native runner: the same C interface, but it learns nothing.
 *
 * For two things: tests of the Java border, hostile cases among them, and an app whose screens can
 * be tried where the real runner cannot be built. It says of itself that it is simulated.
 *
 * What is learned lives in the process alone, by the store's path. Words in paths make it fail:
 *   bundle: "damaged" (hashes), "other" (backend)
 *   store:  "readonly", "tampered", "sealed" (wants a key of 32 sevens), "cut" (records that end
 *           too early), "full" (disk full in step 3), "slow" (steps of 50 ms, not 1)
 *
 * Of a C library it needs malloc, free, usleep and the plain functions of strings alone.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dsa/runner.h"
#include "stores.h"
#include "texts.h"

#define USUAL_STEPS 20
#define STEP_SECONDS 0.1 /* what it claims */
#define STEP_MICROSECONDS 1000
#define SLOW_STEP_MICROSECONDS 50000
#define FEWEST_PRIVATE 4 /* examples of a private fit; a real one needs hundreds */
#define NAN_LOSS __builtin_nan("")

struct dsa_runner {
  store* store;
  volatile int stopped;
};

static const char* last_error = "";

static dsa_status fail(dsa_status status, const char* message) {
  last_error = message;
  return status;
}

static int has(const char* path, const char* word) {
  return path != NULL && strstr(path, word) != NULL;
}

static dsa_status check_key(const dsa_open_options* options) {
  uint8_t key[32] = {0};
  const uint8_t salt[16] = {1, 2, 3};
  int i;
  if (options->key == NULL) {
    return fail(DSA_WRONG_KEY, "the store is sealed and no key was given: give its KeyProvider.");
  }
  if (options->key(options->key_context, "store-id", salt, 0, key) != 0) {
    return fail(DSA_WRONG_KEY, "there is no key for the store: give its KeyProvider.");
  }
  for (i = 0; i < 32; i++) {
    if (key[i] != 7) return fail(DSA_WRONG_KEY, "the store is sealed with another key.");
  }
  return DSA_OK;
}

static dsa_status check_paths(const char* bundle, const dsa_open_options* options) {
  if (has(bundle, "damaged")) {
    return fail(DSA_BUNDLE, "layer_07.ptd has another hash than the manifest says: copy it again.");
  }
  if (has(bundle, "other")) {
    return fail(DSA_BUNDLE, "this bundle is for backend onnx alone: export it for executorch.");
  }
  if (has(options->store, "readonly")) {
    return fail(DSA_STORE, "the store cannot be written: check its folder and permissions.");
  }
  if (has(options->store, "tampered")) {
    return fail(DSA_TAMPERED, "something without the key changed the store: forget it.");
  }
  return has(options->store, "sealed") ? check_key(options) : DSA_OK;
}

/* ---- the interface -------------------------------------------------------------------------- */

const char* dsa_version(void) { return "0.1.0 simulated"; }
int32_t dsa_abi_version(void) { return DSA_ABI_VERSION; }
const char* dsa_last_error(void) { return last_error; }
void dsa_free(char* made) { free(made); }

dsa_status dsa_open(const char* bundle, const dsa_open_options* options, dsa_runner** out) {
  const dsa_status status = check_paths(bundle, options);
  *out = NULL;
  if (status != DSA_OK) return status;
  *out = malloc(sizeof(dsa_runner));
  if (*out == NULL) return fail(DSA_INTERNAL, "there is no memory left.");
  (*out)->store = find_store(options->store);
  (*out)->stopped = 0;
  return DSA_OK;
}

void dsa_close(dsa_runner* runner) { free(runner); }
void dsa_stop(dsa_runner* runner) { runner->stopped = 1; }

static const version* version_of(dsa_runner* runner, int32_t id) {
  const store* s = runner->store;
  const int wanted = id == DSA_IN_USE ? s->active : id;
  return wanted < 0 || wanted >= s->count ? NULL : &s->versions[wanted];
}

static dsa_status no_version(void) {
  return fail(DSA_USAGE, "there is no such version: dsa_history lists them.");
}

dsa_status dsa_choose(dsa_runner* runner, const char* prompt, const char* const* choices,
                      size_t count, int32_t id, int32_t* index, double* probabilities) {
  const version* used = version_of(runner, id);
  size_t i, best = 0;
  (void)prompt;
  if (used == NULL) return no_version();
  for (i = 0; i < count; i++) {
    if (strcmp(choices[i], used->favourite) == 0) best = i;
  }
  for (i = 0; probabilities != NULL && i < count; i++) {
    probabilities[i] = i == best ? 0.75 : 0.25 / (double)(count - 1);
  }
  *index = (int32_t)best;
  return DSA_OK;
}

/* Bytes of the character that begins here. */
static size_t character(const char* at) {
  size_t size = 1;
  while (((unsigned char)at[size] & 0xC0) == 0x80) size++;
  return size;
}

dsa_status dsa_generate(dsa_runner* runner, const char* prompt, const dsa_generate_options* options,
                        dsa_text_callback on_text, void* context, char** made) {
  text out = {NULL, 0, 0};
  int32_t token;
  if (version_of(runner, options->version) == NULL) return no_version();
  runner->stopped = 0;
  add(&out, "");
  for (token = 0; token < options->max_tokens && *prompt != '\0'; token++) {
    char piece[8] = {0};
    const size_t size = character(prompt);
    memcpy(piece, prompt, size);
    prompt += size;
    add(&out, piece);
    if (on_text != NULL && on_text(context, piece) != 0) break;
    if (runner->stopped) break;
  }
  *made = out.start;
  return DSA_OK;
}

dsa_status dsa_plain(dsa_runner* runner, const char* given, char** plain) {
  text out = {NULL, 0, 0};
  (void)runner;
  add(&out, given);
  *plain = out.start;
  return DSA_OK;
}

/* ---- learning ------------------------------------------------------------------------------- */

static int count_lines(const char* lines) {
  int count = 0;
  for (; *lines != '\0'; lines++) count += *lines == '\n';
  return count;
}

static double loss_after(int step) { return 2.0 / (1.0 + step / 10.0); }

/* loss: of a step; NaN for prompts, and where a guarantee keeps it unseen */
static int tell(dsa_progress_callback on_progress, void* context, dsa_phase phase, int done,
                int total, double loss) {
  dsa_progress p;
  memset(&p, 0, sizeof(p));
  p.size = sizeof(p);
  p.phase = phase;
  p.done = done;
  p.total = total;
  p.loss = loss;
  p.held_out_loss = done % 5 == 0 ? loss : NAN_LOSS;
  p.held_out_accuracy = NAN_LOSS;
  p.seconds = STEP_SECONDS * done;
  p.reason = "";
  return on_progress != NULL && on_progress(context, &p) != 0;
}

/* Steps done until the budget, a callback or a stop ends them; negative where the disk is full. */
static int run_steps(dsa_runner* runner, const dsa_fit_options* options,
                     dsa_progress_callback on_progress, void* context) {
  const int steps = options->steps > 0 ? (int)options->steps : USUAL_STEPS;
  const double seconds = options->seconds;
  int step = 0;
  while (step < steps && (seconds <= 0 || step * STEP_SECONDS < seconds) && !runner->stopped) {
    const double loss = options->privacy == NULL ? loss_after(step + 1) : NAN_LOSS;
    usleep(has(runner->store->path, "slow") ? SLOW_STEP_MICROSECONDS : STEP_MICROSECONDS);
    if (has(runner->store->path, "full") && step == 2) return -1;
    if (tell(on_progress, context, DSA_STEPS, ++step, steps, loss)) break;
  }
  return step;
}

static void add_privacy(text* out, const dsa_privacy* privacy, int steps) {
  add(out, "{\"noise\": 1.5, \"share\": 0.25, ");
  add_field(out, "steps", steps);
  add(out, ", ");
  add_field(out, "verdict", (long)privacy->epsilon);
  add(out, ", ");
  add_field(out, "epsilon", (long)privacy->epsilon);
  add(out, privacy->delta == 0 ? ", \"delta\": 1e-5" : ", \"delta\": 1e-4");
  add(out, ", \"accountant\": \"rdp\"}");
}

/* privacy: null for none; the numbers of one are made up, but for a whole epsilon */
static char* report_of(const store* s, int steps, const dsa_privacy* privacy) {
  text out = {NULL, 0, 0};
  add(&out, "{\"verdict\": \"improved\", ");
  add_field(&out, "version", s->active);
  add(&out, ", ");
  add_field(&out, "steps", steps);
  add(&out, ", \"before\": {");
  add_loss(&out, loss_after(0));
  add(&out, ", \"accuracy\": 0.5}, \"after\": {");
  add_loss(&out, loss_after(steps));
  add(&out, ", \"accuracy\": null}, \"privacy\": ");
  if (privacy == NULL) add(&out, "null");
  if (privacy != NULL) add_privacy(&out, privacy, steps);
  add(&out, "}");
  return out.start;
}

static dsa_status check_fit(const store* s, int lines, const dsa_fit_options* options) {
  if (lines == 0) return fail(DSA_EXAMPLE, "there are no examples: give at least one.");
  if (options->memory_mb > 0 && options->memory_mb < 100) {
    return fail(DSA_BUDGET, "memory_mb is too little for this model: raise it.");
  }
  if (options->privacy == NULL) return DSA_OK;
  if (lines < FEWEST_PRIVATE) {
    return fail(DSA_PRIVACY, "the examples are too few for a private fit: give more of them.");
  }
  if (s->spent >= options->privacy->epsilon) {
    return fail(DSA_PRIVACY, "the fits of this store already spent that much: ask for more.");
  }
  return DSA_OK;
}

dsa_status dsa_fit(dsa_runner* runner, const dsa_examples* examples, const dsa_fit_options* options,
                   dsa_progress_callback on_progress, void* context, char** report) {
  const int lines = count_lines(examples->lines);
  const dsa_status checked = check_fit(runner->store, lines, options);
  int i, done;
  runner->stopped = 0;
  if (checked != DSA_OK) return checked;
  for (i = 1; i <= lines; i++) {
    if (tell(on_progress, context, DSA_PROMPTS, i, lines, NAN_LOSS)) {
      return fail(DSA_STOPPED, "the fit was ended before its first step: nothing was changed.");
    }
  }
  if (options->privacy != NULL) runner->store->spent = options->privacy->epsilon;
  done = run_steps(runner, options, on_progress, context);
  if (done < 0) {
    return fail(DSA_STORE, "the disk is full: free some space; the steps so far are kept.");
  }
  keep_version(runner->store, examples->lines, done);
  *report = report_of(runner->store, done, options->privacy);
  return DSA_OK;
}

dsa_status dsa_evaluate(dsa_runner* runner, const dsa_examples* examples, int32_t id,
                        dsa_progress_callback on_progress, void* context, char** json) {
  text out = {NULL, 0, 0};
  const version* used = version_of(runner, id);
  if (used == NULL) return no_version();
  tell(on_progress, context, DSA_PROMPTS, 1, 1, NAN_LOSS);
  add(&out, "{");
  add_field(&out, "examples", count_lines(examples->lines));
  add(&out, ", ");
  add_loss(&out, loss_after(used->steps));
  add(&out, ", \"accuracy\": 0.5}");
  *json = out.start;
  return DSA_OK;
}

/* ---- what was learned ----------------------------------------------------------------------- */

static void add_version(text* out, const store* s, int id) {
  const version* v = &s->versions[id];
  add(out, id == 1 ? "{" : ", {");
  add_field(out, "id", id);
  add(out, ", ");
  add_field(out, "parent", v->parent);
  add(out, ", \"created\": 1.5e9, \"verdict\": \"improved\", ");
  add_field(out, "steps", v->steps);
  add(out, s->active == id ? ", \"active\": true}" : ", \"active\": false}");
}

dsa_status dsa_history(dsa_runner* runner, char** json) {
  const store* s = runner->store;
  text out = {NULL, 0, 0};
  int id;
  add(&out, "{");
  add_field(&out, "active", s->active);
  add(&out, ", \"versions\": [");
  for (id = 1; id < s->count; id++) add_version(&out, s, id);
  if (!has(s->path, "cut")) add(&out, "], \"fits\": []}");
  *json = out.start;
  return DSA_OK;
}

dsa_status dsa_rollback(dsa_runner* runner, int32_t id) {
  if (id < 0 || version_of(runner, id) == NULL) return no_version();
  runner->store->active = id;
  return DSA_OK;
}

dsa_status dsa_forget(dsa_runner* runner, const char* const* ids, size_t count, char** json) {
  (void)ids;
  (void)count;
  (void)json;
  reset_store(runner->store);
  return DSA_OK;
}

dsa_status dsa_save_adapter(dsa_runner* runner, const char* path) {
  (void)runner;
  if (has(path, "readonly")) return fail(DSA_STORE, "the file cannot be written.");
  return DSA_OK;
}

dsa_status dsa_load_adapter(dsa_runner* runner, const char* path, int32_t* id) {
  if (has(path, "foreign")) {
    return fail(DSA_ADAPTER, "this adapter was made for another bundle: give one of this bundle.");
  }
  keep_version(runner->store, "", 0);
  *id = runner->store->active;
  return DSA_OK;
}
