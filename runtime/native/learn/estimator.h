// What every estimator says and does: which lanes to run, what scalars they give, and the way back.
//
// docs/journal.md has what the scalars mean and what g is made of; runtime/estimators/ the papers.
// Nothing allocates after the first step.
#pragma once

#include <memory>

#include "hyper.h"
#include "space.h"

namespace dsa::learn {

class Estimator {
 public:
  // Raises Error(usage) when it does not fit the adapter. `exact` is refused: it needs gradients.
  static std::unique_ptr<Estimator> make(const Hyperparameters& hyper, uint64_t seed,
                                         const Space& space);
  virtual ~Estimator() = default;

  size_t directions() const { return directions_; }         // q
  size_t blocks() const { return space_.blocks; }
  size_t parts() const { return parts_; }                   // scalars of a direction
  size_t width() const { return directions_ * parts_; }     // what the journal holds
  virtual size_t lanes() const { return 2 * directions_; }  // that a step costs
  virtual size_t at_a_time() const;                         // lanes to make at a time, at most

  // Writes lanes first ... first + count - 1 (count, n) of a step from theta (n,).
  virtual void write_lanes(const float* theta, uint64_t step, size_t first, size_t count,
                           float* out) = 0;

  // What values (lanes, each) change by along each direction: (directions, each).
  virtual void slopes(const double* values, size_t each, double epsilon, double* out) const;

  // What is journalled of slopes (width,); lost ones are NaN.
  virtual void scalars(const double* slopes, float* out);

  // The gradient (n,) that scalars (width,) stand for; false where all were lost.
  virtual bool direction(const float* scalars, uint64_t step, float* gradient);

  // theta (n,) less the optimizer's step.
  virtual void move(float* theta, const float* by, uint64_t step);

  const Hyperparameters& hyper() const { return hyper_; }

 protected:
  Estimator(const Hyperparameters& hyper, uint64_t seed, const Space& space, bool by_block = true);

  // Adds scalar_b z'_j, b the block of each number, of a query to `sum` (n,).
  virtual void add(const float* scalars, uint64_t step, size_t query, float* sum) = 0;
  const uint32_t* block() const { return parts_ > 1 ? space_.block.data() : nullptr; }
  float scalar(const float* scalars, size_t number) const {
    return scalars[parts_ > 1 ? space_.block[number] : 0];
  }

  const Hyperparameters hyper_;
  const uint64_t seed_;
  const Space& space_;
  size_t directions_, parts_;
};

}  // namespace dsa::learn
