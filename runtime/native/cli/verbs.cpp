#include "cli/verbs.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "cli/bench.h"
#include "cli/help.h"
#include "cli/keys.h"
#include "cli/request.h"
#include "cli/session.h"
#include "core/json.h"
#include "dsa/runner.h"

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
  if (progress->phase == DSA_STEPS) {
    std::fprintf(stderr, "\rstep %lld  ", static_cast<long long>(progress->done));
    if (!std::isnan(progress->loss)) std::fprintf(stderr, "loss %.4f  ", progress->loss);
    std::fprintf(stderr, "%.0f s ", progress->seconds);
  }
  return 0;
}

dsa_progress_callback teller(const Options& options) {
  return options.has("json") ? nullptr : follow;
}

int evaluate(const Options& options) {
  const Data data(options);
  dsa_use_options told = use_options(options);
  told.base = 1;
  const Session runner(options);
  char* json = nullptr;
  check(dsa_evaluate_with(runner, &data.told, &told, teller(options), nullptr, &json));
  if (!options.has("json")) std::fputc('\n', stderr);
  emit(options, taken(json));
  return 0;
}

int personalize(const Options& options) {
  const Data data(options);
  const Request request(options);
  const Session runner(options);
  char* json = nullptr;
  check(dsa_fit(runner, &data.told, &request.told, teller(options), nullptr, &json));
  if (!options.has("json")) std::fputc('\n', stderr);
  emit(options, taken(json));
  return 0;
}

int plan(const Options& options) {
  const Data data(options);
  const Request request(options);
  const Session runner(options);
  char* json = nullptr;
  check(dsa_plan(runner, &data.told, &request.told, &json));
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

// Ids of --examples and of the examples in --data; none to forget all that was learned.
std::vector<std::string> to_forget(const Options& options, dsa_runner* runner) {
  std::vector<std::string> ids = options.list("examples");
  if (!options.has("data") && (options.has("template") || options.has("labels")))
    throw WrongUse("--template and --labels say how to read --data: give that file as well.");
  if (!options.has("data")) return ids;
  const Data data(options);
  char* json = nullptr;
  check(dsa_example_ids(runner, &data.told, &json));
  for (const Json& id : Json::parse(taken(json))) ids.push_back(id);
  if (ids.empty()) throw WrongUse("--data has no examples: leave it out to forget all.");
  return ids;
}

int forget(const Options& options) {
  std::vector<const char*> pointers;
  return asked(options, [&](dsa_runner* runner, char** json) {
    const auto ids = to_forget(options, runner);
    for (const std::string& id : ids) pointers.push_back(id.c_str());
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

// --unseal is asked for by name: a key that was forgotten on the command line must not unseal.
int rekey(const Options& options) {
  auto key = key_named(options.get("to"), "DSA_EDGE_NEW_PASSPHRASE");
  if (options.has("new-key-file"))
    key = std::make_unique<dsa::learn::FileKey>(options.get("new-key-file"));
  if ((key != nullptr) == options.has("unseal"))
    throw WrongUse("expected --to passphrase, --to file:PATH or --unseal: give one of them.");
  const Session runner(options);
  check(dsa_rekey(runner, key ? provided : nullptr, key.get()));
  emit(options, dsa::written(Json{{"sealed", key != nullptr}}));
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

struct Verb {
  int (*run)(const Options&);
  const char* options;  // those that take a value, besides the ones that all verbs have
};

const std::map<std::string, Verb> kVerbs = {
    {"choose", {choose, "prompt choices version memory-mb"}},
    {"generate", {generate, "prompt max-tokens temperature top-p seed memory-mb version"}},
    {"evaluate", {evaluate, "data template labels version memory-mb"}},
    {"personalize", {personalize, kLearning}},
    {"plan", {plan, kLearning}},
    {"history", {history, ""}},
    {"rollback", {rollback, "version"}},
    {"forget", {forget, "examples data template labels"}},
    {"replay", {replay, "fit steps out"}},
    {"save", {save, "out"}},
    {"load", {load, "adapter"}},
    {"rekey", {rekey, "to new-key-file"}},
    {"tokens", {tokens, "prompt"}},
    {"info", {info, ""}},
    {"doctor", {doctor, ""}},
    {"bench", {bench, "pass prompt-tokens new-tokens lanes batch warmup repeats backend"}}};

// By hand: what a C++ stream takes for a space differs between Android's C library and a shim's.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0, end; at < text.size(); at = end + 1) {
    end = std::min(text.find(' ', at), text.size());
    if (end > at) words.push_back(text.substr(at, end - at));
  }
  return words;
}

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
  const Options options({words.begin() + 1, words.end()},
                        words_of(kEverywhere + std::string(verb->second.options)), kFlags);
  if (options.has("help")) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  return verb->second.run(options);
}

}  // namespace dsa_cli
