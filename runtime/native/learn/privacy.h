// What a private fit is asked for, and what it took (runtime/_privacy.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dsa::learn {

struct Hyperparameters;

constexpr double kDelta = 1e-5;  // where none is asked for
constexpr int64_t kPrivateBatch = 32;

// (epsilon, delta): of one example more or less, over every fit of a store together.
// batch: examples a step, on average.
struct Privacy {
  double epsilon = 0, delta = kDelta;
  int64_t batch = kPrivateBatch;

  void check() const;  // raises Error(usage) for what is no guarantee
};

// Refuses what is not clipped and noised here: other estimators' scalars, a gate's gradients.
// Raises Error(privacy).
void check_covered(const Hyperparameters& hyper);

// What one fit took: `steps` releases with `noise`, of a random `share` of the examples.
// noise: standard deviation over sensitivity. verdict: epsilon of the verdict, on held-out
// examples. epsilon: spent by all fits of the store up to this one, at `delta`, as `accountant`
// counts: `rdp` here, `pld` in Python.
struct Spent {
  double noise = 0, share = 0;
  int64_t steps = 0;
  double verdict = 0, epsilon = 0, delta = 0;
  std::string accountant = "rdp";

  std::string json() const;
  static Spent read(const std::string& json);  // raises Broken
};

}  // namespace dsa::learn
