// What a user has learned on one bundle, and learning more: `fit` from its examples to its verdict.
#pragma once

#include "engine.h"
#include "objective.h"
#include "report.h"
#include "store.h"

namespace dsa::learn {

// What a bundle proposes for fits on it, from its manifest's `defaults`.
struct Proposed {
  std::optional<double> rate, epsilon;
  std::optional<int64_t> queries, batch, steps;
};

// What a bundle says of the adapters that are learned on it.
// identity: of the manifest. initial: its adapter, version 0. shapes: of the adapter's slots, in
// order. blocks: of each target; active: how many serve a prompt. start: id of a learned start, ""
// without one; subspace: its directions, where fits learn along them.
struct Ground {
  std::string identity;
  Adapter initial;
  std::vector<Shape> shapes;
  size_t blocks = 1, active = 1;
  std::string start;
  Subspace subspace;
  Proposed choices, responses;
};

// What `fit` is asked for; what is left out is as usual.
// seconds: of work; steps: at most. hyper: all hyper-parameters; or changes: a JSON object of those
// that differ from the bundle's own, or from what suits the method that it names. seed: below 2^63.
// remember: keep the examples in the store. replay: remembered examples of earlier fits to learn
// from beside the new ones, at most. resume: go on with the last fit where it was interrupted and
// was the same as this one; a private fit is always a new one. privacy: bounds what one example may
// reveal, over all fits of the store. wait: called between steps and prompts; returns the seconds that it
// held the fit back.
struct Wish {
  std::optional<double> seconds;
  std::optional<int64_t> steps;
  std::optional<Hyperparameters> hyper;
  std::string changes;
  uint64_t seed = 0;
  bool remember = false;
  size_t replay = 0;
  bool resume = true;
  std::optional<Privacy> privacy;
  std::function<bool(const Progress&)> on_step;
  std::function<void(size_t)> on_prefill;
  std::function<bool()> stop;
  std::function<double()> wait;
};

class Learner {
 public:
  Learner(Ground ground, Store& store) : ground_(std::move(ground)), store_(store) {}

  // Learns from examples, starting from the adapter in use. A part of them is held out; unless the
  // loss on them improves, the adapter stays as it was. Raises Error of kind example, usage,
  // engine, privacy where the guarantee cannot be kept, or store where another program is changing
  // it.
  Report fit(const std::vector<Example>& examples, Engine& engine, const Wish& wish = {});

  // The version in use, or the nearest whole one it came from; its adapter (n,), coordinates and
  // all. `whole` makes the numbers of one along directions.
  int64_t version() { return store_.newest_whole().version; }
  Adapter adapter() { return adapter(version()); }
  Adapter adapter(int64_t version);
  Floats whole(const Adapter& adapter) const;

  // The hyper-parameters that a fit begins with, and how many steps it has at most. choices: whether
  // all examples have some.
  Hyperparameters settled(const Wish& wish, bool choices) const;
  int64_t usual_steps(const Wish& wish, bool choices) const;

  // Scalars of a step from the version in use; bytes of what a gate learns in, as a fit keeps it.
  int64_t width(const Hyperparameters& hyper);
  static int64_t direction_bytes(int64_t gate_width);

  void rollback(int64_t version);
  std::vector<int64_t> forget();  // returns the versions that are gone
  std::vector<int64_t> forget(const std::vector<std::string>& examples);
  int64_t use_adapter(const Adapter& adapter);  // as a new version

  // The adapter after each number of steps, from the journal alone, to the bit. run: the last one.
  // Raises Error(store) where there is none, Error(damaged) where it cannot be read.
  std::vector<Adapter> replay(const std::vector<int64_t>& steps,
                              std::optional<int64_t> run = std::nullopt);

 private:
  friend class Fit;
  using Known = std::vector<std::pair<std::string, Example>>;

  Hyperparameters proposed(bool choices, bool with_privacy) const;
  void check(const Wish& wish, const Hyperparameters& hyper, const Space& space,
             int64_t steps) const;
  Known known(const std::vector<Example>& examples, const Wish& wish);
  Space space(const Adapter& from, int64_t along, int64_t version) const;
  std::string begins_at(int64_t parent, int64_t along) const;
  void check_start(const Run& run, int64_t along) const;

  const Ground ground_;
  Store& store_;
};

}  // namespace dsa::learn
