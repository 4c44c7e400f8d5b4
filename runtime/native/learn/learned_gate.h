// The gate after each number of steps of a fit, for replays (docs/journal.md).
#pragma once

#include "store.h"

namespace dsa::learn {

// begun: the gate of the version that the fit started from. journal: of it; where the fit learned
// its gate, what each step has of it is taken off. Raises Broken.
std::vector<std::optional<Gate>> gates_of(const Run& run, const std::optional<Gate>& begun,
                                          const Hyperparameters& hyper, Store& store,
                                          std::vector<Step>& journal,
                                          const std::vector<int64_t>& at);

}  // namespace dsa::learn
