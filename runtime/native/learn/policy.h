// A gate as a policy: routes are drawn by chance, and what they earned says how scores should move.
//
// dsa_edge/policy.py has the formulas and their sources. G draws, B examples, N blocks, F features;
// all in float64, per unit of temperature.
#pragma once

#include "clusters.h"

namespace dsa::learn {

// Scores (N,) of a pooled state (D,), summed in one order for every block. terms: scratch.
void gate_scores(const Gate& gate, const float* pooled, Doubles& terms, double* out);

// Blocks (N,) by falling scores, equal ones by index.
void ranked(const double* scores, size_t blocks, std::vector<size_t>& out);

// The blocks of a gate as they suit a prompt. Keeps its memory, as every step ranks all prompts.
class Ranking {
 public:
  // All blocks (N,) by falling scores of a pooled state (D,). Valid until the next call.
  const std::vector<size_t>& of(const Gate& gate, const float* pooled);

 private:
  Doubles terms_, scores_;
  std::vector<size_t> order_;
};

// Makes of G rewards (G, B) what each is over the mean of the others, of root mean square 1.
void centre_rewards(Doubles& rewards, size_t draws);

// What scores are moved by; keeps its memory for the steps that follow.
class Pull {
 public:
  // The gradient (B, N) by scores (B, N) of what is minimized. routes: (G, B, k); worth: (G, B).
  // Valid until the next call.
  const Doubles& of(const Doubles& scores, size_t blocks, const std::vector<size_t>& routes,
                    const Doubles& worth, size_t draws);

 private:
  void earn(const double* scores, size_t blocks, const size_t* route, size_t active, double worth);

  Doubles shares_, drawn_, made_, earned_, left_, open_, found_;
};

// What scores (E, N) are divided by, so that the likeliest block has `sure` on average.
double temperature(const Doubles& scores, size_t blocks, double sure);

}  // namespace dsa::learn
