// What a user's model tells of itself: JSON with the names that Python has.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "api/user.h"
#include "core/errors.h"
#include "core/json.h"

namespace dsa {

namespace {

Json maybe(const std::optional<int64_t>& number) { return number ? Json(*number) : Json(); }
Json maybe(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

Json parsed(const std::string& json) {
  const Json made = Json::parse(json, nullptr, false);
  return made.is_discarded() ? Json() : made;
}

Json told(const learn::Version& version) {
  return {{"id", version.id},           {"parent", maybe(version.parent)},
          {"verdict", version.verdict}, {"steps", version.steps},
          {"active", version.active},   {"created", maybe(version.created)},
          {"kept", version.kept},       {"summary", parsed(version.summary)}};
}

Json told(const learn::Run& run) {
  return {{"id", run.id},
          {"parent", maybe(run.parent)},
          {"version", maybe(run.version)},
          {"kept", maybe(run.kept)},
          {"created", maybe(run.created)},
          {"verdict", run.verdict ? Json(*run.verdict) : Json()},
          {"seed", run.seed ? Json(*run.seed) : Json()},
          {"hyper", parsed(run.hyper)},
          {"examples", run.examples},
          {"privacy", parsed(run.privacy)}};
}

int64_t longest(const std::vector<Encoded>& encoded) {
  size_t most = 0;
  for (const Encoded& example : encoded)
    for (const Item& item : example.items) most = std::max(most, item.prompt.size());
  return static_cast<int64_t>(most);
}

double clock_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string User::history() {
  Json versions = Json::array(), fits = Json::array();
  for (const learn::Version& version : store_.versions()) versions.push_back(told(version));
  for (const learn::Run& run : store_.runs()) fits.push_back(told(run));
  const learn::InUse in_use = store_.newest_whole();
  return written(Json{{"active", in_use.version},
                      {"damaged", in_use.damaged},
                      {"lost", in_use.lost},
                      {"versions", versions},
                      {"fits", fits}});
}

std::string User::info() {
  const Manifest& manifest = bundle_.manifest;
  const learn::InUse in_use = store_.newest_whole();
  return written(Json{{"bundle", bundle_.path},
                      {"identity", manifest.identity},
                      {"base", manifest.base_name},
                      {"licence", manifest.licence},
                      {"layers", manifest.decoder.n_layers},
                      {"split_layer", manifest.split()},
                      {"adapter_size", manifest.adapter_size()},
                      {"adapter", parsed(manifest.adapter.json)},
                      {"backend", "executorch"},
                      {"kernels", kernels()},
                      {"threads", engine_.layers().threads()},
                      {"version", in_use.version},
                      {"damaged", in_use.damaged},
                      {"sealed", store_.sealed()},
                      {"store_bytes", store_.bytes()},
                      {"resident_mb", resident_mb()},
                      {"peak_mb", peak_mb()}});
}

// A trial on a batch of the examples: nothing is learned, and the store stays as it is.
Trial User::trial(const std::vector<Example>& examples, const FitOptions& options, int64_t times) {
  learn::check_learnable(examples);
  const learn::Hyperparameters hyper = learner_.settled(options.wish, learn::all_choose(examples));
  const auto batch = std::min(examples.size(), static_cast<size_t>(hyper.batch));
  if (options.disk_mb > 0) check_disk(disk_use(examples, options), options);
  const std::vector<Example> some(examples.begin(),
                                  examples.begin() + static_cast<std::ptrdiff_t>(batch));
  Scorer scorer(engine_, encoder_, scoring(options.memory_mb, false));
  const double began = clock_now();
  scorer.load(some, nullptr);
  Trial made{(clock_now() - began) / static_cast<double>(batch), {}, 0, hyper};
  made.step_seconds.reserve(static_cast<size_t>(times));
  const learn::Adapter adapter = version(-1);
  scorer.route_by(adapter.gate ? &*adapter.gate : nullptr);
  const auto lanes = static_cast<size_t>(hyper.lanes());
  Floats theta, losses(lanes * batch);
  for (size_t lane = 0; lane < lanes; ++lane)
    theta.insert(theta.end(), adapter.numbers.begin(), adapter.numbers.end());
  std::vector<uint32_t> all;
  for (uint32_t at = 0; at < batch; ++at) all.push_back(at);
  for (int64_t time = 0; time < times; ++time) {  // the first one loads and packs weights
    const double start = clock_now();
    scorer.probe({all.data(), batch}, {theta.data(), lanes}, losses.data(), nullptr);
    made.step_seconds.push_back(clock_now() - start);
  }
  made.tokens = scorer.tokens({all.data(), batch}) * hyper.lanes();
  return made;
}

// Where a budget of numbers went: the layers that have most of an adapter.
std::string note_of_allocation(const learn::Floats& numbers, const std::vector<Slot>& slots) {
  std::map<int64_t, int64_t> left;  // by layer
  int64_t total = 0;
  for (const Slot& slot : slots) {
    const auto first = numbers.begin() + slot.offset;
    const auto size = static_cast<std::ptrdiff_t>(learn::size_of(slot.shape));
    const int64_t here = size - std::count(first, first + size, 0.0f);
    left[std::stoll(slot.name.substr(slot.name.find('.') + 1))] += here, total += here;
  }
  std::vector<std::pair<int64_t, int64_t>> layers(left.begin(), left.end());
  std::stable_sort(layers.begin(), layers.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string most;
  for (size_t i = 0; i < std::min<size_t>(3, layers.size()); ++i)
    most += learn::text(i ? ", " : "", layers[i].first, " (", layers[i].second, ")");
  return learn::text(total, " of ", numbers.size(), " numbers are left, most of them in layers ",
                     most);
}

// What the engine had to do without, and where numbers were taken away (runtime/_notes.py).
void User::add_notes(learn::Report& report, const std::vector<Example>& examples) {
  if (report.hyper.keep < 1)
    report.notes.push_back(note_of_allocation(version(-1).numbers, bundle_.manifest.slots));
  const int64_t group = bundle_.manifest.decoder.attention_group;
  if (group > 0 && longest(encoder_.encode_all(examples)) > group)
    report.notes.push_back(learn::text(
        "prompts are longer than the attention group of ", group,
        " tokens, and the native runner has full attention alone: learning from them on onnx is "
        "faster"));
  if (const int64_t anew = engine_.layers().from_storage(); anew > 0)
    report.notes.push_back(learn::text("memory_mb holds the base but for ", anew,
                                       " layers, which came from storage"));
}

std::string User::plan(const std::vector<Example>& examples, const FitOptions& options) {
  const Trial tried = trial(examples, options, 2);
  int64_t steps = learner_.usual_steps(options.wish, learn::all_choose(examples));
  const double all = static_cast<double>(examples.size()), step = tried.step_seconds.back();
  double count = all;
  if (const auto seconds = options.wish.seconds) {  // half of it for prompts, as the fit has it
    count = std::max(1.0, std::floor(std::min(all, 0.5 * *seconds / tried.prompt_seconds)));
    const double left = std::max(0.0, *seconds - count * tried.prompt_seconds);
    steps = static_cast<int64_t>(std::min(static_cast<double>(steps), left / step));
  }
  const double prefill = tried.prompt_seconds * count;
  const DiskUse disk = disk_use(examples, options);
  const auto mb = [](int64_t bytes) { return static_cast<double>(bytes) / kMb; };
  // The trial cached a batch of the prompts.
  const double others = std::max(0.0, count - static_cast<double>(tried.hyper.batch)) / all;
  return written(Json{{"steps", steps},
                      {"examples", static_cast<int64_t>(count)},
                      {"prefill_seconds", prefill},
                      {"step_seconds", step},
                      {"seconds", prefill + step * static_cast<double>(steps)},
                      {"peak_mb", peak_mb() + (disk.spilled ? 0 : mb(disk.cache) * others)},
                      {"disk_bound_mb", mb(disk.spilled + disk.growth)},
                      {"spill_mb", mb(disk.spilled)},
                      {"tokens", tried.tokens * steps}});
}

}  // namespace dsa
