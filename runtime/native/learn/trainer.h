// One fit: step, watch the held-out loss, choose what to keep, give a verdict.
#pragma once

#include "batches.h"
#include "calibration.h"
#include "explorer.h"
#include "looks.h"
#include "objective.h"
#include "optimizer.h"
#include "pace.h"
#include "report.h"
#include "slopes.h"

namespace dsa::learn {

// The best adapter (n,) after `kept` steps, and how it compares. bias: (K,), empty without choices.
struct Outcome {
  std::string verdict;
  Look kept;
  Evaluation before, calibrated, after;
  int64_t steps = 0, tokens = 0;
  double step_seconds = 0;  // median
  std::vector<Progress> curve;
};

// What a run is told, and asked. record: called with each step before the next begins. on_step
// returns false, and stop true, to end the run with a verdict on what it has learned by then.
struct Hooks {
  std::function<void(float rate, const float* scalars, size_t count)> record;
  std::function<bool(const Progress&)> on_step;
  std::function<bool()> stop;
};

class Trainer {
 public:
  // All that is given by reference must outlive this. explorer: learns the gate; null where it
  // stays.
  Trainer(Objective& objective, const Split& split, const Space& space,
          const Hyperparameters& hyper, uint64_t seed, const Hooks& hooks, Pace& pace,
          Explorer* explorer = nullptr);

  // Learns from where the space starts for as long as the pace allows. done: steps that are in the
  // journal already; they are made again from their scalars, and the run goes on behind them.
  Outcome run(const std::vector<Step>& done = {});

 private:
  enum class Ended { no, yes, diverged };

  std::vector<double> calibrate(const float* adapter, Floats& losses);
  std::vector<double> gains_of_biases(const Floats& before, const Floats& raw,
                                      const std::vector<uint32_t>& answers);
  Look look();
  void look_into(Look& look);
  void step(const uint32_t* batch, double progress);
  void measure_losses(Some batch);
  void measure_choices(Some batch);
  void centre_of_lanes(size_t batch);
  template <class Measure>
  void each_block(Measure measure);
  void repeat(const std::vector<Step>& done, Looks& looks);
  Ended next(int64_t index, double progress, Looks& looks);
  Ended watch(Progress& event, Looks& looks);
  bool due(int64_t index) const;
  bool is_new(int64_t index) const;
  Served served(Some batch);
  void learn_gate();
  void see_new(const uint32_t* batch, Looks& looks);
  void conclude(const Look& before, const Looks& looks, Ended ended, Outcome& outcome);

  Objective& objective_;
  const Split& split_;
  const Hyperparameters hyper_;
  const Hooks& hooks_;
  Pace& pace_;
  State state_;
  Estimator& estimator_;
  Batches batches_;
  Slopes slopes_;
  Explorer* const explorer_;
  const size_t own_;  // scalars of a step that are not the gate's
  std::optional<Calibration> calibration_;

  Floats lanes_, losses_, right_, raw_, calibrated_, scalars_, centre_, before_batch_;
  std::vector<uint32_t> answers_;  // of the step's batch
  Floats reference_, seen_start_;  // losses at the start, of the training examples and of a batch
  std::vector<double> scratch_, times_;
  Look now_;
  double loss_ = 0, start_loss_ = 0;
  int64_t tokens_ = 0;
  std::vector<Progress> curve_;
};

}  // namespace dsa::learn
