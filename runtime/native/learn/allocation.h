// A budget that shrinks: the numbers that matter least are taken away while the others learn.
//
// AdaLoRA (2303.10512, equations 8 to 12) as runtime/_allocation.py has it.
#pragma once

#include "hyper.h"
#include "space.h"

namespace dsa::learn {

class Allocation {
 public:
  explicit Allocation(size_t size);

  // Takes in a step's gradient (n,) at theta (n,).
  void observe(const float* theta, const float* gradient);

  // Takes from theta (n,) after a step what its budget does not allow; ties go to the lower index.
  void keep(float* theta, int64_t step, const Hyperparameters& hyper);

 private:
  void rank();

  Floats mean_, spread_;
  std::vector<float> score_;
  std::vector<uint32_t> order_;  // by importance, the largest first
  size_t left_ = 0;              // of order_, once that is for good; 0 before
};

// How many of `size` numbers are left at a step: the cubic schedule.
int64_t budget_at(int64_t step, int64_t size, const Hyperparameters& hyper);

// Raises Error(usage) for a budget below one number, or one that so many steps do not reach.
void check_budget(const Hyperparameters& hyper, size_t size, int64_t steps);

}  // namespace dsa::learn
