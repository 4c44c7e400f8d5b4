#include "learner.h"

#include <algorithm>
#include <cmath>

#include "batches.h"
#include "clusters.h"
#include "learned_gate.h"
#include "random.h"

namespace dsa::learn {
namespace {

constexpr uint64_t kOld = uint64_t{1} << 34, kPrompts = uint64_t{1} << 33;  // no run's epochs

constexpr int64_t kPrivateQueries = 16;  // what the figures of docs/results were measured with

[[noreturn]] void refuse(const std::string& what) { throw Error(Kind::usage, what); }

// Each example the first time that it comes: one that comes twice would be hidden half as well.
template <class Known>
void once(Known& known) {
  std::set<std::string> seen;
  Known kept;
  for (auto& each : known)
    if (seen.insert(each.first).second) kept.push_back(std::move(each));
  known = std::move(kept);
}

}  // namespace

Adapter Learner::adapter(int64_t version) {
  return version ? store_.adapter(version) : ground_.initial;
}

Floats Learner::whole(const Adapter& adapter) const {
  if (adapter.along.empty()) return adapter.numbers;
  if (adapter.along != ground_.start || adapter.numbers.size() > ground_.subspace.count())
    throw Error(Kind::adapter,
                text("the adapter is ", adapter.numbers.size(),
                     " numbers along the directions of "
                     "start ",
                     adapter.along.substr(0, 12),
                     "…, and this bundle has another or "
                     "fewer: open the bundle that it was learned on, or roll back to version 0."));
  Floats vector(ground_.subspace.start.size());
  ground_.subspace.vector(adapter.numbers.data(), adapter.numbers.size(), vector.data());
  return vector;
}

void Learner::rollback(int64_t version) {
  const Database::Writing alone(store_.database());
  store_.activate(version);
}

std::vector<int64_t> Learner::forget() {
  const Database::Writing alone(store_.database());
  std::vector<int64_t> gone;
  for (const Version& version : store_.versions()) gone.push_back(version.id);
  store_.forget();
  return gone;
}

std::vector<int64_t> Learner::forget(const std::vector<std::string>& examples) {
  const Database::Writing alone(store_.database());
  return store_.forget_examples(examples);
}

int64_t Learner::use_adapter(const Adapter& adapter) {
  const size_t size = ground_.initial.numbers.size();
  const Floats& numbers = adapter.numbers;
  const bool finite =
      std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); });
  if (!adapter.along.empty() ? adapter.along != ground_.start : numbers.size() != size || !finite)
    refuse(text("an adapter of ", numbers.size(), " numbers was given, expected ", size,
                " finite ones: give one that was made for this bundle."));
  const Database::Writing alone(store_.database());
  return store_.add_version(version(), adapter, "loaded", 0, "{}");
}

std::vector<Adapter> Learner::replay(const std::vector<int64_t>& steps, std::optional<int64_t> id) {
  const Run run = store_.run(id);
  if (!run.parent || !run.seed)
    throw Error(Kind::damaged,
                text("fit ", run.id, " of ", store_.folder(),
                     " is damaged, so it "
                     "cannot be replayed: restore the store from a backup, or replay "
                     "another fit."));
  return store_.database().guarded([&] {
    const Adapter begun = adapter(*run.parent);
    const Hyperparameters hyper = Hyperparameters::read(run.hyper);
    check_start(run, hyper.along);
    const Space from = space(begun, hyper.along, *run.parent);
    std::vector<Step> journal = store_.journal(run);
    const std::vector<std::optional<Gate>> gates =
        gates_of(run, begun.gate, hyper, store_, journal, steps);
    const std::vector<Floats> states = learn::replay(from, *run.seed, hyper, journal, steps);
    std::vector<Adapter> made(states.size(), begun);
    for (size_t i = 0; i < states.size(); ++i) {
      made[i].numbers = states[i];
      made[i].along = hyper.along ? ground_.start : "";
      if (run.version) made[i].labels = store_.labels(*run.version);
      made[i].gate = gates[i];
    }
    return made;
  });
}

// Where a run begins from a version, along so many directions, 0 for all numbers.
Space Learner::space(const Adapter& from, int64_t along, int64_t version) const {
  if (!along) return Space(whole(from), ground_.shapes, ground_.blocks);
  const size_t count = static_cast<size_t>(along);
  if (count > ground_.subspace.count())
    refuse(text(along, " directions were asked for, and this bundle has ", ground_.subspace.count(),
                ": ask for fewer, or export it with --start and a start "
                "that has them."));
  const bool within = !from.along.empty() && from.numbers.size() <= count;
  if (version && !within)
    refuse(text("version ", version, " is not within the first ", along,
                " directions: roll back to version 0, or learn along as many."));
  Floats begin(count);
  if (!from.along.empty()) std::copy(from.numbers.begin(), from.numbers.end(), begin.begin());
  return Space(begin, {{count}}, 1);
}

// The learned start that a fit from a version depends on; "" for none.
std::string Learner::begins_at(int64_t parent, int64_t along) const {
  return along || !parent ? ground_.start : "";
}

void Learner::check_start(const Run& run, int64_t along) const {
  const int64_t parent = run.parent.value_or(0);
  if ((along || !parent) && run.start != begins_at(parent, along))
    throw Error(Kind::store,
                text("fit ", run.id, " began from start ", run.start.substr(0, 12),
                     ", this bundle has another: open the bundle that it began on; its "
                     "version is still there."));
}

Hyperparameters Learner::settled(const Wish& wish, bool choices) const {
  if (wish.hyper) return *wish.hyper;
  Hyperparameters hyper = proposed(choices, wish.privacy.has_value());
  return wish.changes.empty() ? hyper
                              : hyper.changed(wish.changes, choices, wish.steps.value_or(0));
}

// What the bundle proposes; its settings were not searched for fits under a guarantee.
Hyperparameters Learner::proposed(bool choices, bool with_privacy) const {
  Hyperparameters hyper = Hyperparameters::suited(choices);
  if (with_privacy) {
    hyper.queries = kPrivateQueries;
    return hyper;
  }
  const Proposed& own = choices ? ground_.choices : ground_.responses;
  hyper.rate = own.rate.value_or(hyper.rate), hyper.epsilon = own.epsilon.value_or(hyper.epsilon);
  hyper.queries = own.queries.value_or(hyper.queries),
  hyper.batch = own.batch.value_or(hyper.batch);
  return hyper;
}

int64_t Learner::usual_steps(const Wish& wish, bool choices) const {
  if (wish.steps) return *wish.steps;
  const Proposed& own = choices ? ground_.choices : ground_.responses;
  if (!wish.hyper && wish.changes.empty() && !wish.privacy && own.steps) return *own.steps;
  return settled(wish, choices).usual_steps();
}

int64_t Learner::width(const Hyperparameters& hyper) {
  const int64_t from = version();
  const Space space = this->space(adapter(from), hyper.along, from);
  const size_t gate = hyper.learns_gate() ? ground_.blocks * kFeatures : 0;
  return static_cast<int64_t>(Estimator::make(hyper, 0, space)->width() + gate);
}

int64_t Learner::direction_bytes(int64_t gate_width) {  // in base64
  return 4 * static_cast<int64_t>(kFeatures) * (gate_width + 1) * 4 / 3 + 4;
}

// Refuses what cannot be learned here, before prompts are cached for nothing.
void Learner::check(const Wish& wish, const Hyperparameters& hyper, const Space& space,
                    int64_t steps) const {
  hyper.check();
  if (wish.seed >> 63) refuse(text("seed is ", wish.seed, ", expected 0 ≤ seed < 2^63."));
  if (steps < 1 || (wish.seconds && !(*wish.seconds > 0)))
    refuse(text("the budget is ", steps, " steps and ", wish.seconds.value_or(0),
                " seconds, expected numbers more than 0."));
  if (hyper.learns_gate() && ground_.blocks == ground_.active)
    refuse(text("gate ", hyper.gate, " chooses among blocks, and all ", ground_.blocks,
                " here serve every prompt: export with more --blocks than --active, or use gate "
                "clusters."));
  if (wish.privacy) wish.privacy->check(), check_covered(hyper);
  check_budget(hyper, space.size(), steps);
  Estimator::make(hyper, wish.seed, space);
}

// Examples and their ids, in the order to cache them: the new ones and some of the old.
Learner::Known Learner::known(const std::vector<Example>& examples, const Wish& wish) {
  check_learnable(examples);
  Known known, old;
  std::set<std::string> fresh;
  for (const Example& example : examples) {
    known.emplace_back(store_.example_id(example.content()), example);
    fresh.insert(known.back().first);
  }
  for (const auto& [id, content] :
       wish.replay ? store_.remembered() : decltype(store_.remembered()){})
    if (!fresh.count(id))
      old.emplace_back(id, store_.database().guarded([&, &content = content] {
        return Example::read(content);  // C++17 lets no lambda capture a part of a pair by itself
      }));
  const Indices chosen = order(wish.seed, kOld, old.size());
  for (size_t i = 0; i < std::min(wish.replay, old.size()); ++i) known.push_back(old[chosen[i]]);
  if (wish.privacy) once(known);
  if (!wish.seconds) return known;
  Known shuffled;  // not all may be cached in time, so any part must be a fair one
  for (const uint32_t i : order(wish.seed, kPrompts, known.size())) shuffled.push_back(known[i]);
  return shuffled;
}

}  // namespace dsa::learn
