// Zeroth-order steps: what an optimizer makes of an estimator's gradient, to the bit.
//
// float32, element by element, in a fixed order and without fused multiply-add; the running powers
// of beta are float64. runtime/_optimizer.py has the formulas.
#pragma once

#include "allocation.h"
#include "estimator.h"

namespace dsa::learn {

// One line of the journal: the learning rate, and the scalars that were applied.
struct Step {
  float rate = 0;
  Floats scalars;
};

// The adapter while it learns, and what its optimizer remembers.
class State {
 public:
  // space: must outlive the state.
  State(const Space& space, const Hyperparameters& hyper, uint64_t seed);

  const Floats& theta() const { return theta_; }
  uint64_t step() const { return step_; }
  Estimator& estimator() { return *estimator_; }

  // Applies one step's scalars (width,); those that are NaN are left out.
  void update(float rate, const float* scalars);

  // Moves by a gradient (n,) that was made of a step's scalars.
  void move(const float* gradient, float rate, const float* scalars);

  // Starts anew, for trying several rates.
  void reset();

 private:
  enum class Rule { sgd, momentum, adam, normalized };
  void blend_first(const float* gradient);
  void adam(const float* gradient, float rate);
  void normalized(const float* gradient, float rate, const float* scalars);
  void make(const float* gradient, float rate, const float* scalars);

  const Space& space_;
  const Hyperparameters hyper_;
  Rule rule_;
  std::unique_ptr<Estimator> estimator_;
  Floats theta_, first_, second_, gradient_, by_;
  Allocation allocation_;
  float square_ = 0;
  double power1_ = 1, power2_ = 1;
  uint64_t step_ = 0;
};

// theta (n,) after each number of steps in `at`, from the recorded steps. A number beyond the
// journal gives its end. Raises Broken for steps of another width.
std::vector<Floats> replay(const Space& space, uint64_t seed, const Hyperparameters& hyper,
                           const std::vector<Step>& journal, const std::vector<int64_t>& at);

}  // namespace dsa::learn
