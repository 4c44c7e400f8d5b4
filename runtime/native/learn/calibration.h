// Label calibration: one additive bias a choice, fitted from scores that exist anyway, and slopes
// of what lies beside it (runtime/_calibration.py tells why; 2102.09690).
#pragma once

#include <cstdint>
#include <vector>

#include "space.h"

namespace dsa::learn {

// The log-score of a choice that an example does not offer: finite, and e to it is 0.
constexpr float kAbsent = -1e4f;

constexpr size_t kRemembered = 512;  // most recent examples that a bias is fitted on

// The bias (K,) of K choices, fitted on the 512 most recent scores.
class Calibration {
 public:
  explicit Calibration(size_t choices);

  // Takes in raw scores (B, K) of examples whose right choices are answers (B,).
  void observe(const float* scores, const uint32_t* answers, size_t count);
  const Floats& bias() const { return bias_; }

  // Losses (B,) in nats of what was taken in, each with the bias that the other examples would have
  // been given: one step of Newton's method takes an example out (approximate leave-one-out,
  // 1801.10243). NaN where a score is not finite.
  std::vector<double> left_out(const float* scores, const uint32_t* answers, size_t count);

 private:
  void keep(const float* scores, uint32_t answer);
  void fit();
  void gather(const std::vector<double>& bias);
  double step(std::vector<double>& bias);

  const size_t choices_;
  Floats bias_, scores_;
  std::vector<uint32_t> answers_;
  size_t count_ = 0, oldest_ = 0;  // a ring once it is full
  std::vector<double> p_, wanted_, fitted_, hessian_, gradient_;
};

// softmax (K,) of scores plus bias in float64; bias may be null.
void softmax(const double* scores, const double* bias, size_t count, double* out);

// Solves a x = b for a symmetric positive a (n, n); both are overwritten, b with x.
void solve(double* a, double* b, size_t n);

}  // namespace dsa::learn
