#include "api/user.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/adapter_file.h"
#include "core/errors.h"
#include "core/json.h"
#include "core/sha256.h"

namespace dsa {

namespace {

constexpr size_t kEvaluated = 128;              // examples whose prompts are cached at a time
constexpr int64_t kEvaluatedBytes = 256 << 20;  // of such caches at most, but for one example's

Tokenizer tokenizer_of(const Bundle& bundle) {
  const auto content = bundle.read_text("tokenizer.json");
  if (content) return Tokenizer(*content, bundle.manifest.tokenizer);
  throw Error(Kind::bundle,
              text(bundle.path, " lists no tokenizer.json: export the bundle again."));
}

template <class T>
std::optional<T> maybe(const Json& of, const char* name) {
  const auto found = of.find(name);
  if (found == of.end() || found->is_null()) return std::nullopt;
  return found->get<T>();
}

learn::Proposed proposed(const Manifest& manifest, const char* sort) {
  const Json defaults = object_of(manifest.defaults);
  if (!defaults.contains(sort)) return {};
  const Json& of = defaults[sort];
  return {maybe<double>(of, "rate"), maybe<double>(of, "epsilon"), maybe<int64_t>(of, "queries"),
          maybe<int64_t>(of, "batch"), maybe<int64_t>(of, "steps")};
}

learn::Ground ground_of(const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest;
  learn::Ground made;
  made.identity = manifest.identity;
  made.initial = load_adapter(bundle.file("adapter.safetensors"), manifest);
  for (const Slot& slot : manifest.slots) made.shapes.push_back(slot.shape);
  made.blocks = static_cast<size_t>(manifest.adapter.blocks);
  made.active = static_cast<size_t>(manifest.adapter.active);
  if (manifest.start) {
    made.start = manifest.start->id;
    made.subspace.start = made.initial.numbers;
    made.subspace.directions = load_directions(bundle.file("directions.safetensors"), manifest);
  }
  made.choices = proposed(manifest, "choices"), made.responses = proposed(manifest, "responses");
  return made;
}

void check_choices(const std::vector<std::string>& choices) {
  if (choices.size() >= 2 &&
      std::set<std::string>(choices.begin(), choices.end()).size() == choices.size())
    return;
  throw Error(Kind::usage, text(choices.size(),
                                " choices were given, expected at least two distinct "
                                "ones: add or correct one."));
}

}  // namespace

void Control::pause(const std::string& reason) {
  const std::lock_guard<std::mutex> lock(guard_);
  reason_ = reason.empty() ? "paused" : reason;
}

void Control::resume() {
  const std::lock_guard<std::mutex> lock(guard_);
  reason_.clear();
}

std::string Control::paused() const {
  const std::lock_guard<std::mutex> lock(guard_);
  return reason_;
}

User::User(const std::string& bundle, const OpenOptions& options)
    : bundle_(Bundle::open(bundle, options.check_hashes)),
      tokenizer_(tokenizer_of(bundle_)),
      chat_(bundle_.manifest, tokenizer_),
      encoder_(tokenizer_, bundle_.manifest),
      engine_(bundle_, options.threads, options.layers_kept),
      store_(options.store, bundle_.manifest.identity, options.key),
      learner_(ground_of(bundle_), store_) {}

learn::Adapter User::version(int64_t id) {
  learn::Adapter found = id < 0 ? learner_.adapter() : learner_.adapter(id);
  if (!found.along.empty()) found.numbers = learner_.whole(found);
  if (static_cast<int64_t>(found.numbers.size()) != bundle_.manifest.adapter_size())
    throw Error(Kind::adapter, text("the adapter has ", found.numbers.size(), " numbers, expected ",
                                    bundle_.manifest.adapter_size(), ": roll back to version 0."));
  return found;
}

ScorerOptions User::scoring(double memory_mb, bool timed) const {
  return {memory_mb, store_.folder(), store_.sealed(), timed};
}

// Where memory has a bound the layers below the split go once prompts are cached.
ScorerOptions User::measuring(double memory_mb) const {
  ScorerOptions made = scoring(memory_mb, false);
  made.learns = memory_mb > 0;
  return made;
}

std::vector<double> User::choose(const std::string& prompt, const std::vector<std::string>& choices,
                                 const UseOptions& options) {
  check_choices(choices);
  const learn::Adapter adapter = version(options.version);
  Scorer scorer(engine_, encoder_, measuring(options.memory_mb));
  scorer.load(std::vector<Example>{{prompt, choices[0], choices, false}}, nullptr);
  scorer.route_by(adapter.gate ? &*adapter.gate : nullptr);
  Floats scores(choices.size());
  scorer.choices(0, adapter.numbers.data(), scores.data());
  const Floats bias = adapter.bias(choices);
  for (size_t at = 0; at < scores.size(); ++at) scores[at] += bias[at];
  const float all = log_sum_exp(scores.data(), scores.size());
  std::vector<double> made;
  for (const float score : scores) {
    if (std::isnan(score - all)) throw Error(Kind::engine, kNotNumbers);
    made.push_back(static_cast<double>(std::exp(score - all)));
  }
  return made;
}

std::string User::generate(const std::string& prompt, const GenerateOptions& options,
                           const std::function<bool(const std::string&)>& on_text) {
  if (options.max_tokens < 1)
    throw Error(Kind::usage, text("max_tokens is ", options.max_tokens, ", expected at least 1."));
  const auto [cached, invocation] = encoder_.split_prompt(prompt);
  const auto given = static_cast<int64_t>(cached.size() + invocation.size());
  const int64_t limit = bundle_.manifest.decoder.max_positions;
  if (given >= limit)
    throw Error(Kind::example, text("the prompt has ", given, " tokens, this base takes ", limit,
                                    ": shorten it."));
  const learn::Adapter adapter = version(options.version);
  const Chunks chunks = engine_.layers().bound(options.memory_mb, {true, given});
  TextStream stream(tokenizer_);
  const auto take = [&](int64_t token) {
    const std::string piece = stream.add(token);
    return (piece.empty() || on_text(piece)) && !control.stopped();
  };
  dsa::generate(engine_, cached, invocation, adapter.numbers.data(),
                adapter.gate ? &*adapter.gate : nullptr, options.sampling,
                bundle_.manifest.tokenizer.eos, std::min(options.max_tokens, limit - given), chunks,
                take);
  const std::string rest = stream.end();
  if (!rest.empty()) on_text(rest);
  return stream.text();
}

std::string User::evaluate(const std::vector<Example>& examples, const UseOptions& options,
                           const std::function<bool(size_t)>& on_examples) {
  if (examples.empty())
    throw Error(Kind::example, "there are no examples to evaluate on: give at least one.");
  std::vector<Measured> all = {{version(options.version), {}, {}}};
  if (options.base) all.push_back({version(0), {}, {}});
  std::vector<Encoded> encoded = encoder_.encode_all(examples);
  std::stable_sort(encoded.begin(), encoded.end(), [](const Encoded& a, const Encoded& b) {
    return a.items[0].prompt.size() < b.items[0].prompt.size();
  });
  for (size_t start = 0; start < encoded.size();) {
    std::vector<Encoded> part(encoded.begin() + static_cast<std::ptrdiff_t>(start),
                              encoded.begin() + static_cast<std::ptrdiff_t>(
                                                    std::min(start + kEvaluated, encoded.size())));
    while (part.size() > 1 && Scorer::cache_bytes(bundle_.manifest, part) > kEvaluatedBytes)
      part.resize(part.size() / 2);
    const size_t count = part.size();
    measure(std::move(part), options.memory_mb, all);
    start += count;
    if ((on_examples && !on_examples(count)) || control.stopped())
      throw Error(Kind::stopped, "the evaluation was stopped: call it again for a result.");
  }
  Json made = Json::parse(learn::Evaluation::of(all[0].losses, all[0].right).json());
  if (!options.base) return written(made);
  made["version"] = options.version < 0 ? store_.newest_whole().version : options.version;
  made["base"] = Json::parse(learn::Evaluation::of(all[1].losses, all[1].right).json());
  return written(made);
}

// Measures adapters on some examples, whose prompts they share and which are forgotten afterwards.
void User::measure(std::vector<Encoded> part, double memory_mb, std::vector<Measured>& all) {
  const size_t count = part.size();
  Scorer scorer(engine_, encoder_, measuring(memory_mb));
  scorer.load(std::move(part), nullptr);
  std::vector<Example> own;  // what the objective reads of them: choices and answers
  for (size_t at = 0; at < count; ++at) {
    const Encoded& one = scorer.example(at);
    own.push_back({"", one.choices.empty() ? " " : one.choices[one.answer], one.choices, false});
  }
  learn::Objective objective(scorer, own, bundle_.manifest.adapter_size());
  std::vector<uint32_t> places(count);
  std::iota(places.begin(), places.end(), 0u);
  for (Measured& one : all) {
    const size_t done = one.losses.size();
    one.losses.resize(done + count), one.right.resize(done + count);
    scorer.route_by(one.adapter.gate ? &*one.adapter.gate : nullptr);
    objective.bias = objective.bias_of(one.adapter);
    objective.losses({places.data(), count}, {one.adapter.numbers.data(), 1},
                     one.losses.data() + done, one.right.data() + done);
  }
}

learn::Report User::fit(const std::vector<Example>& examples, const FitOptions& options) {
  if (options.disk_mb > 0) check_disk(disk_use(examples, options), options);
  ScorerOptions told = scoring(options.memory_mb, options.wish.seconds.has_value());
  told.learns = true;
  Scorer scorer(engine_, encoder_, told);
  learn::Report report = learner_.fit(examples, scorer, options.wish);
  add_notes(report, examples);
  return report;
}

void User::save_adapter(const std::string& path) {
  dsa::save_adapter(path, version(-1), bundle_.manifest);
}

int64_t User::load_adapter(const std::string& path) {
  learn::Adapter adapter = dsa::load_adapter(path, bundle_.manifest);
  if (!adapter.along.empty()) learner_.whole(adapter);  // refuses another start's
  return learner_.use_adapter(adapter);
}

std::string User::replay(int64_t fit, int64_t steps, const std::string& path) {
  const auto run = fit > 0 ? std::optional<int64_t>(fit) : std::nullopt;
  const learn::Run found = store_.run(run);
  const auto all = static_cast<int64_t>(store_.journal(found).size());
  const int64_t wanted = steps < 0 ? all : steps;
  if (wanted > all)
    throw Error(Kind::usage, text("fit ", found.id, " has ", all, " steps, ", wanted,
                                  " were asked for: ask for fewer."));
  learn::Adapter made = learner_.replay({wanted}, found.id)[0];
  if (!made.along.empty()) made.numbers = learner_.whole(made);
  Sha256 hash;
  hash.add(made.numbers.data(), 4 * made.numbers.size());
  if (!path.empty()) dsa::save_adapter(path, made, bundle_.manifest);
  return written(Json{{"fit", found.id}, {"steps", wanted}, {"sha256", hash.hex()}});
}

}  // namespace dsa
