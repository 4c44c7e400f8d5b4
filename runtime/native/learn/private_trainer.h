// One fit under differential privacy: whatever leaves it has been clipped and noised.
//
// Batches are drawn by chance, label biases follow noised residuals, nothing is looked at on the
// way, and the verdict is noised (runtime/_private_trainer.py).
#pragma once

#include "mechanism.h"
#include "trainer.h"

namespace dsa::learn {

class PrivateTrainer {
 public:
  // All that is given by reference must outlive this. split: told apart by the examples alone.
  // verdict: epsilon of the verdict.
  PrivateTrainer(Objective& objective, const Split& split, const Space& space,
                 const Hyperparameters& hyper, uint64_t seed, const Hooks& hooks, Pace& pace,
                 Mechanism& mechanism, double verdict);

  // Learns from where the space starts for as long as the pace allows.
  Outcome run();

 private:
  bool next(int64_t index, double progress);
  void step(double progress);
  void measure_losses(Some batch);
  void measure_choices(Some batch);
  void residuals(Some batch);
  void move_bias(const std::vector<double>& centre);
  template <class Measure>
  void each_block(Measure measure);
  Look look(const Floats& adapter, const Floats& bias);
  bool judge(const Look& before, const Look& after, Outcome& outcome);

  Objective& objective_;
  const Split& split_;
  const Hyperparameters hyper_;
  const Hooks& hooks_;
  Pace& pace_;
  Mechanism& mechanism_;
  const double verdict_;
  State state_;
  Estimator& estimator_;

  Floats lanes_, raw_, scalars_;
  std::vector<double> slopes_, residuals_;
  std::vector<double> times_;
  std::vector<Progress> curve_;
  int64_t tokens_ = 0;
};

}  // namespace dsa::learn
