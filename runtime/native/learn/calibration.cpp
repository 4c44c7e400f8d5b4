#include "calibration.h"

#include <algorithm>
#include <cmath>

#include "sums.h"

namespace dsa::learn {
namespace {

constexpr double kRidge = 1.0;  // prior weight, in examples
constexpr int kNewtonSteps = 30;

}  // namespace

void softmax(const double* scores, const double* bias, size_t count, double* out) {
  for (size_t k = 0; k < count; ++k) out[k] = scores[k] + (bias ? bias[k] : 0.0);
  const double peak = *std::max_element(out, out + count);
  for (size_t k = 0; k < count; ++k) out[k] = std::exp(out[k] - peak);
  const double total = sum(out, count);
  for (size_t k = 0; k < count; ++k) out[k] /= total;
}

// Gaussian elimination with the largest pivot of each column.
void solve(double* a, double* b, size_t n) {
  for (size_t c = 0; c < n; ++c) {
    size_t pivot = c;
    for (size_t r = c + 1; r < n; ++r)
      if (std::fabs(a[r * n + c]) > std::fabs(a[pivot * n + c])) pivot = r;
    std::swap_ranges(a + c * n, a + (c + 1) * n, a + pivot * n);
    std::swap(b[c], b[pivot]);
    for (size_t r = c + 1; r < n; ++r) {
      const double factor = a[r * n + c] / a[c * n + c];
      for (size_t k = c; k < n; ++k) a[r * n + k] -= factor * a[c * n + k];
      b[r] -= factor * b[c];
    }
  }
  for (size_t c = n; c-- > 0;) {
    for (size_t k = c + 1; k < n; ++k) b[c] -= a[c * n + k] * b[k];
    b[c] /= a[c * n + c];
  }
}

Calibration::Calibration(size_t choices)
    : choices_(choices),
      bias_(choices),
      scores_(kRemembered * choices),
      answers_(kRemembered),
      p_(2 * choices),
      wanted_(choices),
      fitted_(choices),
      hessian_(choices * choices),
      gradient_(choices) {}

void Calibration::observe(const float* scores, const uint32_t* answers, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const float* own = scores + i * choices_;
    if (std::all_of(own, own + choices_, [](float s) { return std::isfinite(s); }))
      keep(own, answers[i]);
  }
  fit();
}

void Calibration::keep(const float* scores, uint32_t answer) {
  const size_t at = count_ < kRemembered ? count_++ : oldest_++ % kRemembered;
  std::copy(scores, scores + choices_,
            scores_.begin() + static_cast<std::ptrdiff_t>(at * choices_));
  answers_[at] = answer;
}

// Maximum likelihood by Newton's method, mean 0; the ridge makes it unique.
void Calibration::fit() {
  std::fill(fitted_.begin(), fitted_.end(), 0.0);
  std::fill(wanted_.begin(), wanted_.end(), 0.0);
  for (size_t i = 0; i < count_; ++i) ++wanted_[answers_[i]];
  for (int i = 0; count_ && i < kNewtonSteps && step(fitted_) >= 1e-6; ++i) {
  }
  const double centre = mean(fitted_.data(), choices_);
  for (size_t k = 0; k < choices_; ++k) bias_[k] = static_cast<float>(fitted_[k] - centre);
}

std::vector<double> Calibration::left_out(const float* scores, const uint32_t* answers,
                                          size_t count) {
  const size_t n = choices_;
  const std::vector<double> fitted(bias_.begin(), bias_.end());
  std::vector<double> losses(count, std::nan("")), own(n), p(n), pull(n), others;
  gather(fitted);
  const std::vector<double> all = hessian_;
  for (size_t i = 0; i < count; ++i) {
    std::copy_n(scores + i * n, n, own.begin());
    if (!std::all_of(own.begin(), own.end(), [](double s) { return std::isfinite(s); })) continue;
    softmax(own.data(), fitted.data(), n, p.data());
    pull = p, pull[answers[i]] -= 1, others = all;
    for (size_t k = 0; k < n; ++k) {
      others[k * n + k] -= p[k];
      for (size_t l = 0; l < n; ++l) others[k * n + l] += p[k] * p[l];
    }
    solve(others.data(), pull.data(), n);
    for (size_t k = 0; k < n; ++k) pull[k] += fitted[k];
    softmax(own.data(), pull.data(), n, p.data());
    losses[i] = -std::log(p[answers[i]]);
  }
  return losses;
}

// Gradient and Hessian at a bias.
void Calibration::gather(const std::vector<double>& bias) {
  const size_t n = choices_;
  std::fill(hessian_.begin(), hessian_.end(), 0.0);
  std::fill(gradient_.begin(), gradient_.end(), 0.0);
  double *p = p_.data(), *scores = p + n;
  for (size_t i = 0; i < count_; ++i) {
    const float* own = &scores_[(oldest_ + i) % std::max<size_t>(1, count_) * n];
    std::copy(own, own + n, scores);
    softmax(scores, bias.data(), n, p);
    for (size_t k = 0; k < n; ++k) gradient_[k] += p[k];
    for (size_t k = 0; k < n; ++k)
      for (size_t l = 0; l < n; ++l) hessian_[k * n + l] -= p[k] * p[l];
  }
  for (size_t k = 0; k < n; ++k) hessian_[k * n + k] += gradient_[k] + kRidge;
  for (size_t k = 0; k < n; ++k) gradient_[k] = gradient_[k] - wanted_[k] + kRidge * bias[k];
}

// One step of Newton's method; returns how far the farthest number wanted to go.
double Calibration::step(std::vector<double>& bias) {
  gather(bias);
  solve(hessian_.data(), gradient_.data(), choices_);
  double farthest = 0;
  for (size_t k = 0; k < choices_; ++k) {
    bias[k] -= std::clamp(gradient_[k], -2.0, 2.0);  // far from the optimum a full step overshoots
    farthest = std::max(farthest, std::fabs(gradient_[k]));
  }
  return farthest;
}

}  // namespace dsa::learn
