// A private fit whose noise can be foretold, the same in tests/native/known_private.py. The library
// has no such thing: there noise and batches come from the system.
#pragma once

#include "known_engine.h"
#include "learn/private_course.h"
#include "learn/private_trainer.h"
#include "learn/store.h"

namespace dsa::learn {

class KnownSource : public Source {
 public:
  explicit KnownSource(uint64_t seed) : stream_(seed, 0, 0, Purpose::perturb) {}

 protected:
  void fill(uint8_t* out, size_t count) override {
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint8_t>(stream_.word());
  }

 private:
  Stream stream_;
};

// The first two of each seven examples are held out. verdict: epsilon 2.
inline Outcome private_fit(Store& store, const std::vector<Example>& examples, const Space& space,
                           Hyperparameters hyper, int64_t steps, uint64_t seed, double noise) {
  KnownEngine engine(space);
  engine.load(examples, [](size_t, double) { return true; });
  Objective objective(engine, examples, space.size());
  Split split;
  for (uint32_t i = 0; i < examples.size(); ++i)
    (i % 7 < 2 ? split.held_out : split.train).push_back(i);
  hyper.slopes = "batch";
  Spent spent;
  spent.noise = noise, spent.steps = steps, spent.verdict = 2, spent.epsilon = 3,
  spent.delta = 1e-4;
  spent.share = static_cast<double>(hyper.batch) / static_cast<double>(split.train.size());
  Run begun;
  begun.parent = 0, begun.seed = seed, begun.hyper = hyper.json(), begun.privacy = spent.json();
  begun.width = hyper.queries;
  const int64_t run = store.start_run(begun);
  Hooks hooks;
  hooks.record = [&](float rate, const float* scalars, size_t count) {
    store.append(run, rate, scalars, count);
  };
  KnownSource source(seed);
  Mechanism mechanism(noise, hyper.batch, source);
  Pace pace(steps, std::nullopt, nullptr);
  PrivateTrainer trainer(objective, split, space, hyper, seed, hooks, pace, mechanism, 2);
  const Outcome outcome = trainer.run();
  store.end_run(run, outcome.verdict, nullptr, spent.json());
  return outcome;
}

}  // namespace dsa::learn
