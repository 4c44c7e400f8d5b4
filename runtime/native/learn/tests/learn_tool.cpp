// Does one thing to a store, for tests/native: a JSON object comes in, another goes out.
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <iterator>

#include "known_engine.h"
#include "known_private.h"
#include "learn/clusters.h"
#include "learn/json.h"
#include "learn/learner.h"

namespace dsa::learn {
namespace {

std::string hex_of(const Floats& numbers) {
  Bytes bytes(4 * numbers.size());
  if (!bytes.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return hex(bytes);
}

std::unique_ptr<KeyProvider> key_of(const Json& asked, const char* name) {
  if (!asked.contains(name)) return nullptr;
  const std::string kind = asked[name][0], value = asked[name][1];
  if (kind == "file") return std::make_unique<FileKey>(value);
  if (kind == "passphrase") return std::make_unique<PassphraseKey>(value);
  const auto fetch = [value](const std::string&, const Bytes&, bool fresh) -> std::optional<Key> {
    if (value.empty() || (value == "kept" && fresh)) return std::nullopt;
    Key key{};
    std::copy_n(value.begin(), std::min(value.size(), key.size()), key.begin());
    return key;
  };
  return std::make_unique<CallbackKey>("the app", fetch);
}

std::vector<Example> examples_of(const Json& asked) {
  std::vector<Example> examples;
  for (const Json& one : asked.value("examples", Json::array()))
    examples.push_back(Example::read(one.dump()));
  return examples;
}

Ground ground_of(const Json& asked) {
  Ground ground;
  ground.identity = asked.value("identity", std::string(64, 'a'));
  ground.initial.numbers = asked.value("theta", Floats());
  ground.shapes = asked.value("shapes", std::vector<Shape>());
  ground.blocks = asked.value("blocks", size_t{1});
  if (asked.contains("start")) {
    ground.start = asked["start"], ground.subspace.start = ground.initial.numbers;
    for (const Json& direction : asked["directions"])
      for (const Json& number : direction) ground.subspace.directions.push_back(number);
  }
  if (ground.blocks > 1 && !asked.value("ungated", false))
    ground.initial.gate = Gate{ground.blocks, 1, Floats(2 * ground.blocks), {}};
  return ground;
}

Json fit(const Json& asked, Learner& learner, const Ground& ground) {
  const Space space(ground.initial.numbers, ground.shapes, ground.blocks);
  KnownEngine engine(space);
  Wish wish;
  if (asked.contains("hyper")) wish.hyper = Hyperparameters::read(asked["hyper"].dump());
  if (asked.contains("seconds")) wish.seconds = asked["seconds"].get<double>();
  if (asked.contains("pause"))
    wish.wait = [&] { return usleep(asked["pause"]), 1e-6 * asked["pause"].get<double>(); };
  if (asked.contains("changes")) wish.changes = asked["changes"].dump();
  if (asked.contains("steps")) wish.steps = asked["steps"].get<int64_t>();
  wish.seed = asked.value("seed", uint64_t{0});
  if (asked.contains("privacy"))
    wish.privacy = {asked["privacy"][0], asked["privacy"][1], asked["privacy"][2]};
  wish.remember = asked.value("remember", false), wish.replay = asked.value("replay", size_t{0});
  wish.resume = asked.value("resume", true);
  const int64_t killed = asked.value("kill_after", int64_t{-1});
  const int64_t stopped = asked.value("stop_after", int64_t{-1});
  wish.on_step = [&](const Progress& step) {
    if (step.step == killed) _exit(9);  // as a kill does: nothing is closed
    if (asked.contains("slow")) usleep(asked["slow"]), std::cerr << step.step << std::endl;
    return step.step != stopped;
  };
  return Json::parse(learner.fit(examples_of(asked), engine, wish).json());
}

// Gates of pooled states (E, D), and the directions in which these differ.
Json gates(const Json& asked) {
  const Floats pooled = asked["pooled"].get<Floats>();
  const size_t width = asked["width"], blocks = asked["blocks"];
  const uint64_t seed = asked["seed"];
  return {{"clustered", hex_of(clustered(pooled, width, blocks, seed).table)},
          {"scattered", hex_of(scattered(pooled, width, blocks, seed).table)},
          {"differences", differences(pooled, width)}};
}

std::vector<Spent> spent_of(const Json& asked) {
  std::vector<Spent> fits;
  for (const Json& one : asked.value("before", Json::array()))
    fits.push_back(Spent::read(one.dump()));
  return fits;
}

// The noise that a fit needs, or what fits have spent.
Json counted(const Json& asked) {
  const std::vector<Spent> before = spent_of(asked);
  const Privacy privacy{asked["epsilon"], asked["delta"], 1};
  if (asked["do"] == "spent") return {{"epsilon", spent(before, privacy.delta)}};
  return {{"noise", noise_for(privacy, asked["share"], asked["steps"], before)}};
}

// A private fit with noise that can be foretold.
Json known_private(const Json& asked, Store& store, const Ground& ground) {
  const Outcome outcome = private_fit(
      store, examples_of(asked), Space(ground.initial.numbers, ground.shapes, ground.blocks),
      Hyperparameters::read(asked["hyper"].dump()), asked["steps"], asked["seed"], asked["noise"]);
  return {{"verdict", outcome.verdict},
          {"tokens", outcome.tokens},
          {"before", Json::parse(outcome.before.json())},
          {"after", Json::parse(outcome.after.json())},
          {"bias", outcome.kept.bias},
          {"theta", hex_of(outcome.kept.adapter)}};
}

Json history(Store& store) {
  Json told = {{"versions", Json::array()}, {"fits", Json::array()}};
  for (const Version& v : store.versions())
    told["versions"].push_back({v.id, v.verdict, v.active, v.kept});
  for (const Run& run : store.runs())
    told["fits"].push_back({run.id, run.verdict.value_or("interrupted"), run.examples.size()});
  const InUse used = store.newest_whole();
  told["version"] = used.version, told["damaged"] = used.damaged, told["lost"] = used.lost;
  return told;
}

Json answered(const Json& asked) {
  if (asked["do"] == "gates") return gates(asked);
  if (asked["do"] == "noise" || asked["do"] == "spent") return counted(asked);
  const auto key = key_of(asked, "key"), fresh = key_of(asked, "new_key");
  const Ground ground = ground_of(asked);
  Store store(asked.value("folder", ""), ground.identity, key.get());
  Learner learner(ground, store);
  const std::string what = asked["do"];
  if (what == "fit") return fit(asked, learner, ground);
  if (what == "private_fit") return known_private(asked, store, ground);
  if (what == "history") return history(store);
  if (what == "bytes") return {{"bytes", store.bytes()}};
  if (what == "suited")
    return Json::parse(Hyperparameters::suited(asked["choices"], asked["estimator"],
                                               asked["optimizer"], asked["along"])
                           .json());
  if (what == "rekey") store.rekey(fresh.get());
  if (what == "rollback") learner.rollback(asked["version"]);
  if (what == "forget") return {{"gone", learner.forget()}};
  if (what == "forget_examples")
    return {{"gone", learner.forget(asked["ids"].get<std::vector<std::string>>())}};
  Json told = {{"remembered", Json::array()}, {"ids", Json::array()}};
  if (what == "ids")
    for (const Example& one : examples_of(asked))
      told["ids"].push_back(store.example_id(one.content()));
  if (what == "remembered")
    for (const auto& [id, content] : store.remembered())
      told["remembered"].push_back({id, content});
  if (what == "use") {
    Adapter given;
    given.numbers = asked["numbers"].get<Floats>();
    return {{"version", learner.use_adapter(given)}};
  }
  if (what == "adapter") {
    const Adapter adapter = learner.adapter();
    told["labels"] = Json::object();
    for (const auto& [choice, bias] : adapter.labels) told["labels"][choice] = bias;
    told["theta"] = hex_of(learner.whole(adapter));
    if (adapter.gate)
      told["gate"] = hex_of(adapter.gate->table), told["served"] = adapter.gate->served;
  }
  if (what == "replay") {
    told["theta"] = Json::array(), told["gate"] = Json::array();
    const std::optional<int64_t> run =
        asked.contains("run") ? std::optional<int64_t>(asked["run"]) : std::nullopt;
    for (const Adapter& a : learner.replay(asked["at"].get<std::vector<int64_t>>(), run)) {
      told["theta"].push_back(hex_of(a.numbers));
      told["gate"].push_back(a.gate ? hex_of(a.gate->table) : "");
    }
  }
  return told;
}

}  // namespace
}  // namespace dsa::learn

int main() {
  using namespace dsa::learn;
  const std::string given(std::istreambuf_iterator<char>(std::cin), {});
  try {
    std::cout << answered(Json::parse(given)).dump() << std::endl;
    return 0;
  } catch (const Error& error) {
    std::cout << Json{{"kind", static_cast<int>(error.kind())}, {"error", error.what()}}.dump()
              << std::endl;
  }
  return 1;
}
