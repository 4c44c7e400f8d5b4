// A gate as a policy: routes are drawn by chance, and what they earned says how scores should move.
//
// dsa_edge/policy.py has the formulas and their sources. G draws, B examples, N blocks, F features;
// all in float64, per unit of temperature.
#pragma once

#include "clusters.h"

namespace dsa::learn {

// Scores (N,) of a pooled state (D,), summed in one order for every block.
void gate_scores(const Gate& gate, const float* pooled, double* out);

// Blocks (N,) by falling scores, equal ones by index.
void ranked(const double* scores, size_t blocks, std::vector<size_t>& out);

// What each of G rewards (G, B) is over the mean of the others, of root mean square 1.
Doubles advantages(const Doubles& rewards, size_t draws);

// The gradient (B, N) by scores (B, N) of what is minimized. routes: (G, B, k); worth: (G, B).
Doubles pull(const Doubles& scores, size_t blocks, const std::vector<size_t>& routes,
             const Doubles& worth, size_t draws);

// What scores (E, N) are divided by, so that the likeliest block has `sure` on average.
double temperature(const Doubles& scores, size_t blocks, double sure);

}  // namespace dsa::learn
