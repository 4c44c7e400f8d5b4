#include "cli/verbs.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>

#include "cli/bench.h"
#include "cli/help.h"
#include "cli/session.h"
#include "core/json.h"
#include "dsa/runner.h"
#include "learn/keys.h"

namespace dsa_cli {

namespace {

using dsa::Json;

void show(const Json& of) {
  for (const auto& [name, value] : of.items())
    std::printf("%-18s %s\n", name.c_str(),
                value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
}

void emit(const Options& options, const std::string& json) {
  if (options.has("json"))
    std::printf("%s\n", json.c_str());
  else
    show(Json::parse(json));
}

int32_t version_of(const Options& options) {
  return static_cast<int32_t>(options.whole("version", DSA_IN_USE));
}

dsa_use_options use_options(const Options& options) {
  dsa_use_options told = DSA_USE_OPTIONS;
  told.version = version_of(options), told.memory_mb = options.number("memory-mb", 0);
  return told;
}

int choose(const Options& options) {
  const auto choices = options.list("choices");
  const std::string prompt = options.need("prompt");
  std::vector<const char*> pointers;
  for (const std::string& choice : choices) pointers.push_back(choice.c_str());
  const dsa_use_options told = use_options(options);
  const Session runner(options);
  std::vector<double> shares(choices.size());
  int32_t index = 0;
  check(dsa_choose_with(runner, prompt.c_str(), pointers.data(), pointers.size(), &told, &index,
                        shares.data()));
  Json probabilities = Json::object();
  for (size_t at = 0; at < choices.size(); ++at) probabilities[choices[at]] = shares[at];
  emit(options, dsa::written(Json{{"choice", choices[static_cast<size_t>(index)]},
                                  {"probabilities", probabilities}}));
  return 0;
}

int32_t print(void*, const char* piece) {
  std::fputs(piece, stdout);
  std::fflush(stdout);
  return 0;
}

// The prompt as it is, or with --chat as a user's message.
std::string prompt_of(const Options& options, dsa_runner* runner) {
  const std::string prompt = options.need("prompt");
  if (!options.has("chat")) return prompt;
  const Json messages = Json::array({Json{{"role", "user"}, {"content", prompt}}});
  char* made = nullptr;
  check(dsa_chat(runner, dsa::written(messages).c_str(), &made));
  return taken(made);
}

int generate(const Options& options) {
  options.need("prompt");
  dsa_generate_options told = DSA_GENERATE_OPTIONS;
  told.max_tokens = static_cast<int32_t>(options.whole("max-tokens", 40));
  if (told.max_tokens < 1) throw WrongUse("--max-tokens is below 1: raise it.");
  told.temperature = options.number("temperature", 0), told.top_p = options.number("top-p", 1);
  told.seed = static_cast<uint64_t>(options.whole("seed", 0)), told.version = version_of(options);
  told.memory_mb = options.number("memory-mb", 0);
  const Session runner(options);
  const std::string prompt = prompt_of(options, runner);
  char* text = nullptr;
  const bool json = options.has("json");
  check(dsa_generate(runner, prompt.c_str(), &told, json ? nullptr : print, nullptr, &text));
  const std::string made = taken(text);
  std::printf("%s\n", json ? dsa::written(Json{{"text", made}}).c_str() : "");
  return 0;
}

int32_t follow(void*, const dsa_progress* progress) {
  if (progress->phase == DSA_PAUSED) std::fprintf(stderr, "\npaused: %s\n", progress->reason);
  if (progress->phase == DSA_PROMPTS)
    std::fprintf(stderr, "\rprompts %lld/%lld", static_cast<long long>(progress->done),
                 static_cast<long long>(progress->total));
  if (progress->phase == DSA_STEPS)
    std::fprintf(stderr, "\rstep %lld  loss %.4f  %.0f s ", static_cast<long long>(progress->done),
                 progress->loss, progress->seconds);
  return 0;
}

dsa_progress_callback teller(const Options& options) {
  return options.has("json") ? nullptr : follow;
}

int evaluate(const Options& options) {
  const Data data(options);
  const dsa_use_options told = use_options(options);
  const Session runner(options);
  char* json = nullptr;
  check(dsa_evaluate_with(runner, &data.told, &told, teller(options), nullptr, &json));
  if (!options.has("json")) std::fputc('\n', stderr);
  emit(options, taken(json));
  return 0;
}

dsa_fit_options fit_options(const Options& options, const std::string& settings) {
  dsa_fit_options told = DSA_FIT_OPTIONS;
  told.seconds = options.number("seconds", 0), told.steps = options.whole("steps", 0);
  told.memory_mb = options.number("memory-mb", 0), told.disk_mb = options.number("disk-mb", 0);
  told.seed = static_cast<uint64_t>(options.whole("seed", 0));
  told.hyperparameters = settings.empty() ? nullptr : settings.c_str();
  told.remember = options.has("remember"),
  told.replay = static_cast<int32_t>(options.whole("replay", 0));
  told.charging = options.has("charging"), told.battery = options.number("battery", 0);
  told.celsius = options.number("celsius", 0), told.idle = options.number("idle", 0);
  return told;
}

int personalize(const Options& options) {
  const Data data(options);
  const std::string settings = options.get("settings");
  const dsa_fit_options told = fit_options(options, settings);
  const Session runner(options);
  char* json = nullptr;
  check(dsa_fit(runner, &data.told, &told, teller(options), nullptr, &json));
  if (!options.has("json")) std::fputc('\n', stderr);
  emit(options, taken(json));
  return 0;
}

int plan(const Options& options) {
  const Data data(options);
  const std::string settings = options.get("settings");
  const dsa_fit_options told = fit_options(options, settings);
  const Session runner(options);
  char* json = nullptr;
  check(dsa_plan(runner, &data.told, &told, &json));
  emit(options, taken(json));
  return 0;
}

// Verbs that ask for one JSON text.
int asked(const Options& options, const std::function<dsa_status(dsa_runner*, char**)>& ask) {
  const Session runner(options);
  char* json = nullptr;
  check(ask(runner, &json));
  const std::string told = taken(json);
  if (told[0] == '[')
    std::printf("%s\n", told.c_str());
  else
    emit(options, told);
  return 0;
}

int history(const Options& options) { return asked(options, dsa_history); }
int info(const Options& options) { return asked(options, dsa_info); }

int tokens(const Options& options) {
  const std::string prompt = options.need("prompt");
  return asked(options, [&](dsa_runner* runner, char** json) {
    return dsa_tokens(runner, prompt.c_str(), json);
  });
}

int rollback(const Options& options) {
  options.need("version");
  const Session runner(options);
  check(dsa_rollback(runner, version_of(options)));
  emit(options, dsa::written(Json{{"active", version_of(options)}}));
  return 0;
}

int forget(const Options& options) {
  const auto ids = options.list("examples");
  std::vector<const char*> pointers;
  for (const std::string& id : ids) pointers.push_back(id.c_str());
  return asked(options, [&](dsa_runner* runner, char** json) {
    return dsa_forget(runner, pointers.data(), pointers.size(), json);
  });
}

int replay(const Options& options) {
  const std::string out = options.get("out");
  return asked(options, [&](dsa_runner* runner, char** json) {
    return dsa_replay(runner, static_cast<int32_t>(options.whole("fit", 0)),
                      options.whole("steps", -1), out.empty() ? nullptr : out.c_str(), json);
  });
}

int save(const Options& options) {
  const std::string out = options.need("out");
  const Session runner(options);
  check(dsa_save_adapter(runner, out.c_str()));
  emit(options, dsa::written(Json{{"saved", out}}));
  return 0;
}

int load(const Options& options) {
  const std::string adapter = options.need("adapter");
  const Session runner(options);
  int32_t version = 0;
  check(dsa_load_adapter(runner, adapter.c_str(), &version));
  emit(options, dsa::written(Json{{"active", version}}));
  return 0;
}

int rekey(const Options& options) {
  const Session runner(options);
  if (options.has("new-key-file")) {
    dsa::learn::FileKey key(options.get("new-key-file"));
    check(dsa_rekey(runner, key_of_file, &key));
  } else {
    check(dsa_rekey(runner, nullptr, nullptr));
  }
  emit(options, dsa::written(Json{{"sealed", options.has("new-key-file")}}));
  return 0;
}

int doctor(const Options& options) {
  if (options.plain().size() > 1) throw WrongUse("expected one bundle or none.");
  char* json = nullptr;
  check(dsa_doctor(options.plain().empty() ? nullptr : options.plain()[0].c_str(), &json));
  const std::string told = taken(json);
  emit(options, told);
  const Json made = Json::parse(told);
  const bool whole = made["xnnpack"] == true && made["missing_operators"].empty() &&
                     made.value("problems", Json::array()).empty();
  return whole ? 0 : 1;
}

const std::map<std::string, int (*)(const Options&)> kVerbs = {
    {"choose", choose},     {"generate", generate},
    {"evaluate", evaluate}, {"personalize", personalize},
    {"plan", plan},         {"history", history},
    {"rollback", rollback}, {"forget", forget},
    {"replay", replay},     {"save", save},
    {"load", load},         {"rekey", rekey},
    {"tokens", tokens},     {"info", info},
    {"doctor", doctor},     {"bench", bench}};

}  // namespace

int run(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "help") {
    std::fputs(kHelp, words.empty() ? stderr : stdout);
    return words.empty() ? 2 : 0;
  }
  if (words[0] == "--version") {
    std::printf("dsa_runner %s\n", dsa_version());
    return 0;
  }
  const auto verb = kVerbs.find(words[0]);
  if (verb == kVerbs.end())
    throw WrongUse(words[0] + " is no verb: `dsa_runner --help` lists them.");
  const Options options({words.begin() + 1, words.end()}, kNames, kFlags);
  if (options.has("help")) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  return verb->second(options);
}

}  // namespace dsa_cli
