// The golden vectors of tests/golden: the same bits as Python's.
#include <cmath>
#include <cstring>
#include <fstream>

#include "check.h"
#include "learn/json.h"
#include "learn/optimizer.h"
#include "learn/random.h"

namespace dsa::learn {
namespace {

Json read(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

uint64_t seed_of(const Json& one) { return std::stoull(one["seed"].get<std::string>()); }

Floats floats(const std::string& hex) {
  Floats numbers(hex.size() / 8);
  for (size_t i = 0; i < numbers.size(); ++i) {
    uint32_t raw = 0;
    for (size_t byte = 4; byte-- > 0;)
      raw = raw << 8 |
            static_cast<uint32_t>(std::stoul(hex.substr(8 * i + 2 * byte, 2), nullptr, 16));
    std::memcpy(&numbers[i], &raw, sizeof raw);
  }
  return numbers;
}

bool same(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), 4 * a.size()) == 0;
}

void check_words(const Json& golden) {
  for (const Json& one : golden["words"]) {
    Stream stream(seed_of(one), one["step"], one["query"],
                  static_cast<Purpose>(one["purpose"].get<int>()));
    for (const Json& word : one["words"])
      check(stream.word() == std::stoull(word.get<std::string>(), nullptr, 16), "words");
  }
  for (const Json& one : golden["signs"]) {
    Floats z(one["size"].get<size_t>());
    signs(Stream(seed_of(one), one["step"], one["query"], Purpose::perturb), 1, z.size(), z.data());
    std::string found;
    for (const float sign : z) found += sign > 0 ? '+' : '-';
    check(found == one["signs"], "signs");
  }
  for (const Json& one : golden["order"])
    check(order(seed_of(one), one["epoch"], one["count"]) ==
              one["order"].get<std::vector<uint32_t>>(),
          "order");
}

void check_lanes(const Json& one) {
  Hyperparameters hyper;
  hyper.queries = one["queries"], hyper.epsilon = one["epsilon"];
  const Space space(floats(one["theta_hex"]), {}, 1);
  State state(space, hyper, seed_of(one));
  Floats lanes(space.size() * state.estimator().lanes());
  state.estimator().write_lanes(space.start.data(), one["step"], 0, state.estimator().lanes(),
                                lanes.data());
  std::string all;
  for (const Json& lane : one["lanes_hex"]) all += lane.get<std::string>();
  check(same(lanes, floats(all)), "lanes");
}

void check_adam(const Json& one) {
  Hyperparameters hyper;
  hyper.queries = one["queries"], hyper.beta1 = one["beta1"], hyper.beta2 = one["beta2"];
  const Space space(one["theta"].get<Floats>(), {}, 1);
  State state(space, hyper, seed_of(one));
  for (const Json& row : one["steps"]) {
    Floats scalars;
    for (size_t i = 1; i < row.size(); ++i)
      scalars.push_back(row[i].is_null() ? std::nanf("") : row[i].get<float>());
    state.update(row[0].get<float>(), scalars.data());
  }
  check(same(state.theta(), floats(one["theta_after_hex"])), "adam");
}

// A replay of an estimator and an optimizer, the first lanes of its first step among it.
void check_replay(const Json& one, const std::string& name) {
  Json told = Json::object();
  for (const char* key : {"estimator", "optimizer", "queries", "epsilon", "beta1", "beta2", "grid",
                          "share", "mask", "rank", "refresh", "slopes"})
    if (one.contains(key)) told[key] = one[key];
  if (!told.contains("slopes")) told["slopes"] = "blocks";
  const Hyperparameters hyper = Hyperparameters::read(told.dump());
  std::vector<Shape> shapes;
  if (one.contains("shapes")) shapes = one["shapes"].get<std::vector<Shape>>();
  const Space space(floats(one["theta_hex"]), shapes, one.value("blocks", size_t{1}));
  std::vector<Step> journal;
  for (const Json& row : one["rows_hex"]) {
    const Floats numbers = floats(row);
    journal.push_back({numbers[0], Floats(numbers.begin() + 1, numbers.end())});
  }
  std::vector<int64_t> at;
  for (const auto& [count, theta] : one["theta_after_hex"].items()) at.push_back(std::stoll(count));
  const std::vector<Floats> found = replay(space, seed_of(one), hyper, journal, at);
  for (size_t i = 0; i < at.size(); ++i)
    check(same(found[i], floats(one["theta_after_hex"][std::to_string(at[i])])),
          text("replay of ", name, " after ", at[i]));
  if (!one.contains("lanes_hex")) return;
  State state(space, hyper, seed_of(one));
  Floats lanes(space.size() * state.estimator().lanes());
  state.estimator().write_lanes(space.start.data(), 0, 0, state.estimator().lanes(), lanes.data());
  std::string all;
  for (const Json& lane : one["lanes_hex"]) all += lane.get<std::string>();
  const Floats wanted = floats(all);
  lanes.resize(wanted.size());
  check(same(lanes, wanted), "lanes of " + name);
}

void check_gaussians(const Json& golden) {
  for (const Json& one : golden["gaussians"]) {
    Stream stream(seed_of(one), one["step"], one["query"],
                  static_cast<Purpose>(one["purpose"].get<int>()));
    const Floats wanted = floats(one["numbers_hex"]);
    Floats found(wanted.size());
    for (float& number : found) number = stream.gaussian();
    check(same(found, wanted), "gaussians");
  }
}

}  // namespace
}  // namespace dsa::learn

int main(int count, char** given) {
  using namespace dsa::learn;
  if (count != 2) return 2;
  const Json steps = read(given[1] + std::string("/steps.json"));
  const Json estimators = read(given[1] + std::string("/estimators.json"));
  check_words(steps);
  check_lanes(steps["lanes"]);
  check_adam(steps["adam"]);
  check_replay(steps["replay"], "antithetic and adam");
  check_gaussians(estimators);
  for (const Json& one : estimators["replays"])
    check_replay(
        one, one["estimator"].get<std::string>() + " and " + one["optimizer"].get<std::string>());
  return verdict();
}
