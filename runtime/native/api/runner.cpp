// The C interface over `User`: no exception leaves it.
#include "dsa/runner.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "api/border.h"
#include "api/conditions.h"
#include "api/doctor.h"
#include "api/listener.h"
#include "api/user.h"
#include "core/errors.h"
#include "core/json.h"

namespace {

using dsa::Error;
using dsa::Kind;
using dsa::text;

using dsa::border::filled;
using dsa::border::given;
using dsa::border::guarded;
using dsa::border::or_empty;
using dsa::border::put;

using Key = dsa::learn::CallbackKey;

std::unique_ptr<Key> key_of(dsa_key_callback ask, void* context) {
  if (!ask) return nullptr;
  const auto fetch = [ask, context](const std::string& store, const dsa::learn::Bytes& salt,
                                    bool fresh) -> std::optional<dsa::learn::Key> {
    dsa::learn::Key made{};
    if (ask(context, store.c_str(), salt.data(), fresh, made.data()) != 0) return std::nullopt;
    return made;
  };
  return std::make_unique<Key>("the app's key", fetch);
}

std::vector<std::string> texts(const char* const* from, size_t count, const char* name) {
  std::vector<std::string> made;
  for (size_t at = 0; at < count; ++at) made.push_back(given(from ? from[at] : nullptr, name));
  return made;
}

}  // namespace

struct dsa_runner {
  std::unique_ptr<Key> key;
  std::unique_ptr<dsa::User> user;
  std::mutex busy;
};

namespace {

// One call on a runner at a time.
template <class Call>
dsa_status on(dsa_runner* runner, Call&& call) noexcept {
  return guarded([&] {
    if (!runner) throw Error(Kind::usage, "the runner is null: open one first.");
    const std::lock_guard<std::mutex> lock(runner->busy);
    runner->user->control.begin();
    call(*runner->user);
  });
}

std::vector<dsa::Example> examples_of(const dsa_examples* from, dsa::User& user) {
  if (!from) throw Error(Kind::usage, "the examples are null: give some.");
  const dsa_examples told = filled<dsa_examples>(from, DSA_EXAMPLES);
  if (!told.lines == !told.path)
    throw Error(Kind::usage, "examples have lines or a path, expected one of the two: give it.");
  return dsa::read_examples(
      {or_empty(told.lines), or_empty(told.path), or_empty(told.template_text),
       texts(told.labels, told.label_count, "a label")},
      user.tokenizer(), user.chat());
}

// A chat as a prompt, which must be a C text.
std::string prompt_of(const dsa::User& user, const std::string& messages) {
  const dsa::Json of = dsa::learn::parsed(messages);
  if (of.is_discarded())
    throw Error(Kind::example,
                "the messages are no JSON, expected a list of {role, content}: correct them.");
  std::string made = user.chat().prompt(of);
  if (made.find('\0') != std::string::npos)
    throw Error(Kind::example, "a message holds a zero byte, which no prompt can: leave it out.");
  return made;
}

using dsa::Listener;

std::optional<dsa::learn::Privacy> privacy_of(const dsa_privacy* from) {
  if (!from) return std::nullopt;
  const dsa_privacy told = filled<dsa_privacy>(from, DSA_PRIVACY_OPTIONS);
  dsa::learn::Privacy made;
  made.epsilon = told.epsilon;
  if (told.delta != 0) made.delta = told.delta;
  if (told.batch != 0) made.batch = told.batch;
  made.check();
  return made;
}

double bound_of(double told) {
  if (!(told >= 0) || std::isinf(told))
    throw Error(Kind::usage, text("a budget is ", told, ", expected a number more than 0."));
  return told;
}

dsa::UseOptions use_options(const dsa_use_options* options) {
  const dsa_use_options told = filled<dsa_use_options>(options, DSA_USE_OPTIONS);
  return {told.version, bound_of(told.memory_mb), told.base != 0};
}

dsa::FitOptions fit_options(const dsa_fit_options& told) {
  dsa::FitOptions made;
  for (const double bound : {told.seconds, told.memory_mb, told.disk_mb}) bound_of(bound);
  if (told.seconds > 0) made.wish.seconds = told.seconds;
  if (told.steps < 0)
    throw Error(Kind::usage, text("steps are ", told.steps, ", expected 1 or more."));
  if (told.steps > 0) made.wish.steps = told.steps;
  made.memory_mb = told.memory_mb, made.disk_mb = told.disk_mb,
  made.wish.changes = or_empty(told.hyperparameters);
  made.wish.seed = told.seed, made.wish.remember = told.remember != 0;
  if (told.replay < 0)
    throw Error(Kind::usage, text("replay is ", told.replay, ", expected 0 or more."));
  made.wish.replay = static_cast<size_t>(told.replay);
  made.wish.privacy = privacy_of(told.privacy);
  return made;
}

// How many of some ids the store knows, and how many not; null for none.
dsa::Json known_of(const std::set<std::string>& ids, dsa::learn::Store& store) {
  if (ids.empty()) return {{"known", nullptr}, {"unknown", nullptr}};
  const std::set<std::string> all = store.known_examples();
  const auto known = std::count_if(ids.begin(), ids.end(),
                                   [&](const std::string& id) { return all.count(id) != 0; });
  return {{"known", known}, {"unknown", static_cast<std::ptrdiff_t>(ids.size()) - known}};
}

dsa::Conditions conditions_of(const dsa_fit_options& told) {
  return {told.charging != 0,
          told.battery,
          told.celsius,
          told.idle,
          told.check_seconds > 0 ? told.check_seconds : 5,
          told.condition,
          told.condition_context};
}

}  // namespace

extern "C" {

const char* dsa_version(void) { return DSA_RUNNER_VERSION; }
int32_t dsa_abi_version(void) { return DSA_ABI_VERSION; }
const char* dsa_last_error(void) { return dsa::border::last_error.c_str(); }
void dsa_free(char* text) { std::free(text); }

dsa_status dsa_open(const char* bundle, const dsa_open_options* options, dsa_runner** out) {
  if (out) *out = nullptr;
  return guarded([&] {
    if (!out) throw Error(Kind::usage, "there is nowhere to put the runner: give a place.");
    const dsa_open_options told = filled<dsa_open_options>(options, DSA_OPEN_OPTIONS);
    auto made = std::make_unique<dsa_runner>();
    made->key = key_of(told.key, told.key_context);
    made->user = std::make_unique<dsa::User>(
        given(bundle, "the bundle"),
        dsa::OpenOptions{or_empty(told.store), told.threads, !told.skip_hashes, told.layers_kept,
                         made->key.get()});
    *out = made.release();
  });
}

void dsa_close(dsa_runner* runner) {
  if (!runner) return;
  guarded([&] {
    {
      const std::lock_guard<std::mutex> lock(runner->busy);
    }
    delete runner;
  });
}

dsa_status dsa_info(dsa_runner* runner, char** json) {
  return on(runner, [&](dsa::User& user) { put(user.info(), json); });
}

dsa_status dsa_choose(dsa_runner* runner, const char* prompt, const char* const* choices,
                      size_t count, int32_t version, int32_t* index, double* probabilities) {
  dsa_use_options told = DSA_USE_OPTIONS;
  told.version = version;
  return dsa_choose_with(runner, prompt, choices, count, &told, index, probabilities);
}

dsa_status dsa_choose_with(dsa_runner* runner, const char* prompt, const char* const* choices,
                           size_t count, const dsa_use_options* options, int32_t* index,
                           double* probabilities) {
  return on(runner, [&](dsa::User& user) {
    const auto found = user.choose(given(prompt, "the prompt"), texts(choices, count, "a choice"),
                                   use_options(options));
    if (index)
      *index = static_cast<int32_t>(std::max_element(found.begin(), found.end()) - found.begin());
    if (probabilities) std::copy(found.begin(), found.end(), probabilities);
  });
}

dsa_status dsa_generate(dsa_runner* runner, const char* prompt, const dsa_generate_options* options,
                        dsa_text_callback on_text, void* context, char** text) {
  return on(runner, [&](dsa::User& user) {
    const dsa_generate_options told = filled<dsa_generate_options>(options, DSA_GENERATE_OPTIONS);
    const dsa::GenerateOptions made{told.max_tokens == 0 ? 40 : told.max_tokens,
                                    {told.temperature, told.top_p == 0 ? 1 : told.top_p, told.seed},
                                    told.version,
                                    bound_of(told.memory_mb)};
    put(user.generate(given(prompt, "the prompt"), made,
                      [&](const std::string& piece) {
                        return !on_text || on_text(context, piece.c_str()) == 0;
                      }),
        text);
  });
}

dsa_status dsa_chat(dsa_runner* runner, const char* messages, char** prompt) {
  return on(runner,
            [&](dsa::User& user) { put(prompt_of(user, given(messages, "the chat")), prompt); });
}

dsa_status dsa_plain(dsa_runner* runner, const char* text, char** plain) {
  return on(runner,
            [&](dsa::User& user) { put(user.tokenizer().plain(given(text, "the text")), plain); });
}

dsa_status dsa_tokens(dsa_runner* runner, const char* prompt, char** json) {
  return on(runner, [&](dsa::User& user) {
    put(dsa::written(dsa::Json(user.tokenizer().encode_prompt(given(prompt, "the prompt")))), json);
  });
}

dsa_status dsa_evaluate(dsa_runner* runner, const dsa_examples* examples, int32_t version,
                        dsa_progress_callback on_progress, void* context, char** json) {
  dsa_use_options told = DSA_USE_OPTIONS;
  told.version = version;
  return dsa_evaluate_with(runner, examples, &told, on_progress, context, json);
}

dsa_status dsa_evaluate_with(dsa_runner* runner, const dsa_examples* examples,
                             const dsa_use_options* options, dsa_progress_callback on_progress,
                             void* context, char** json) {
  return on(runner, [&](dsa::User& user) {
    const dsa::UseOptions made = use_options(options);
    const auto all = examples_of(examples, user);
    Listener listener(user, on_progress, context, 0);
    const auto told = [&](size_t more) {
      listener.prompts(more, static_cast<int64_t>(all.size()));
      return true;
    };
    put(user.evaluate(all, made, told), json);
  });
}

dsa_status dsa_fit(dsa_runner* runner, const dsa_examples* examples, const dsa_fit_options* options,
                   dsa_progress_callback on_progress, void* context, char** report) {
  return on(runner, [&](dsa::User& user) {
    const dsa_fit_options told = filled<dsa_fit_options>(options, DSA_FIT_OPTIONS);
    const auto all = examples_of(examples, user);
    dsa::FitOptions made = fit_options(told);
    Listener listener(user, on_progress, context, told.steps);
    dsa::Waiter waiter(conditions_of(told), user.control,
                       [&](const std::string& reason) { listener.paused(reason); });
    made.wish.on_prefill = [&](size_t more) {
      listener.prompts(more, static_cast<int64_t>(all.size()));
    };
    made.wish.on_step = [&](const dsa::learn::Progress& step) { return listener.step(step); };
    made.wish.stop = [&] { return user.control.stopped(); };
    made.wish.wait = [&] { return waiter.wait(); };
    put(user.fit(all, made).json(), report);
  });
}

dsa_status dsa_plan(dsa_runner* runner, const dsa_examples* examples,
                    const dsa_fit_options* options, char** json) {
  return on(runner, [&](dsa::User& user) {
    const dsa_fit_options told = filled<dsa_fit_options>(options, DSA_FIT_OPTIONS);
    put(user.plan(examples_of(examples, user), fit_options(told)), json);
  });
}

void dsa_stop(dsa_runner* runner) {
  if (runner) runner->user->control.stop();
}

void dsa_pause(dsa_runner* runner, const char* reason) {
  if (runner) guarded([&] { runner->user->control.pause(or_empty(reason)); });
}

void dsa_resume(dsa_runner* runner) {
  if (runner) guarded([&] { runner->user->control.resume(); });
}

dsa_status dsa_history(dsa_runner* runner, char** json) {
  return on(runner, [&](dsa::User& user) { put(user.history(), json); });
}

dsa_status dsa_rollback(dsa_runner* runner, int32_t version) {
  return on(runner, [&](dsa::User& user) { user.learner().rollback(version); });
}

dsa_status dsa_forget(dsa_runner* runner, const char* const* ids, size_t count, char** json) {
  return on(runner, [&](dsa::User& user) {
    const std::vector<std::string> some = texts(ids, count, "an id");
    dsa::Json told = known_of({some.begin(), some.end()}, user.store());
    told["versions"] = count ? user.learner().forget(some) : user.learner().forget();
    told["active"] = user.learner().version();
    put(dsa::written(told), json);
  });
}

dsa_status dsa_example_ids(dsa_runner* runner, const dsa_examples* examples, char** json) {
  return on(runner, [&](dsa::User& user) {
    dsa::Json ids = dsa::Json::array();
    for (const dsa::Example& example : examples_of(examples, user))
      ids.push_back(user.store().example_id(example.content()));
    put(dsa::written(ids), json);
  });
}

dsa_status dsa_save_adapter(dsa_runner* runner, const char* path) {
  return on(runner, [&](dsa::User& user) { user.save_adapter(given(path, "the path")); });
}

dsa_status dsa_load_adapter(dsa_runner* runner, const char* path, int32_t* version) {
  return on(runner, [&](dsa::User& user) {
    const int64_t made = user.load_adapter(given(path, "the path"));
    if (version) *version = static_cast<int32_t>(made);
  });
}

dsa_status dsa_replay(dsa_runner* runner, int32_t fit, int64_t steps, const char* path,
                      char** json) {
  return on(runner, [&](dsa::User& user) { put(user.replay(fit, steps, or_empty(path)), json); });
}

dsa_status dsa_rekey(dsa_runner* runner, dsa_key_callback key, void* context) {
  return on(runner, [&](dsa::User& user) {
    auto made = key_of(key, context);
    user.store().rekey(made.get());
    runner->key = std::move(made);
  });
}

dsa_status dsa_doctor(const char* bundle, char** json) {
  return guarded([&] { put(dsa::doctor(or_empty(bundle)), json); });
}

}  // extern "C"
