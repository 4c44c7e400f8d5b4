// Is the radius of the perturbation one that losses can tell, and the learning rate a safe one?
// Both are tried on one batch before the first step (runtime/_check_rates.py).
#pragma once

#include "objective.h"
#include "optimizer.h"

namespace dsa::learn {

struct Checked {
  Hyperparameters hyper;
  std::vector<std::string> notes;  // one for each change
};

// The hyper-parameters, with a radius and a rate that work from where a space starts on a batch;
// unchanged where they do, or where none was found.
Checked checked(Objective& objective, Some batch, const Space& space, const Hyperparameters& hyper,
                uint64_t seed);

}  // namespace dsa::learn
