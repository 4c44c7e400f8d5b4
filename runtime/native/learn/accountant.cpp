#include "accountant.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "errors.h"

namespace dsa::learn {
namespace {

constexpr double kLeast = 0.3, kMost = 1000.0;  // noise that is looked at
constexpr double kRounded = 1e-3;               // precision of the noise
// What a step's divergence may be off by, for float64 rounds sums of a thousand terms.
constexpr double kSlack = 1e-11;
constexpr int kDense = 64, kHighest = 1024;  // orders: each up to here, then ever fewer up to there

const std::vector<int>& orders() {
  static const std::vector<int> all = [] {
    std::vector<int> made;
    for (int order = 2; order <= kHighest; order += order < kDense ? 1 : order / 10)
      made.push_back(order);
    return made;
  }();
  return all;
}

double log_add(double a, double b) {
  const double most = std::max(a, b), least = std::min(a, b);
  if (std::isinf(most)) return most;  // next to no noise
  return most + std::log1p(std::exp(least - most));
}

// Of one step, at an order: the logarithm of
// sum_k C(order, k) (1 - share)^(order - k) share^k e^((k^2 - k) / (2 noise^2)), over order - 1.
double divergence(int order, double noise, double share) {
  const double exponent = 1 / (2 * noise * noise);
  if (share >= 1) return order * exponent;
  const double in = std::log(share), out = std::log1p(-share);
  double total = order * out, log_choose = 0;
  for (int k = 1; k <= order; ++k) {
    log_choose += std::log(order - k + 1) - std::log(k);
    total = log_add(total, log_choose + (order - k) * out + k * in + k * (k - 1.0) * exponent);
  }
  return std::max(0.0, total / (order - 1)) + kSlack;
}

std::string shown(const char* format, double number) {
  char room[64];
  std::snprintf(room, sizeof room, format, number);
  return room;
}

// Bisection over the logarithm of the noise, of which epsilon is a falling function.
template <class Epsilon>
double least(Epsilon epsilon, double wanted) {
  double low = kLeast, high = kMost;
  while (high / low > 1 + kRounded) {
    const double middle = std::sqrt(low * high);
    (epsilon(middle) <= wanted ? high : low) = middle;
  }
  return high;
}

}  // namespace

Accountant::Accountant() : divergences_(orders().size()) {}

Accountant::Accountant(const std::vector<Spent>& fits) : Accountant() {
  for (const Spent& fit : fits) add(fit.noise, fit.share, fit.steps);
}

void Accountant::add(double noise, double share, int64_t steps) {
  for (size_t i = 0; steps && i < divergences_.size(); ++i)
    divergences_[i] += static_cast<double>(steps) * divergence(orders()[i], noise, share);
}

double Accountant::epsilon(double delta) const {
  if (*std::max_element(divergences_.begin(), divergences_.end()) == 0) return 0;  // nothing yet
  double best = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < divergences_.size(); ++i) {
    const double order = orders()[i];
    best = std::min(best, divergences_[i] + std::log1p(-1 / order) -
                              (std::log(delta) + std::log(order)) / (order - 1));
  }
  return std::max(0.0, best);
}

double of_verdicts(const std::vector<Spent>& fits) {
  double total = 0;
  for (const Spent& fit : fits) total += fit.verdict;
  return total;
}

double noise_for(const Privacy& privacy, double share, int64_t steps,
                 const std::vector<Spent>& before) {
  const Accountant earlier(before);
  const double left = privacy.epsilon - of_verdicts(before),
               already = earlier.epsilon(privacy.delta);
  if (already >= privacy.epsilon || left <= 0)
    throw Error(Kind::privacy, text("epsilon is ", privacy.epsilon,
                                    ", and earlier fits of this store have already spent ",
                                    shown("%.2f", std::max(already, privacy.epsilon - left)),
                                    ": allow more, or `forget` and begin again."));
  const auto epsilon = [&](double noise) {
    Accountant all = earlier;
    all.add(noise, share, steps);
    return all.epsilon(privacy.delta);
  };
  if (!(epsilon(kMost) <= privacy.epsilon))
    throw Error(Kind::privacy,
                text("epsilon is ", privacy.epsilon, ", of which earlier fits left too little for ",
                     steps, " steps, whatever the noise: allow more, or fewer steps."));
  return least(epsilon, privacy.epsilon);
}

double spent(const std::vector<Spent>& fits, double delta) {
  return std::max(Accountant(fits).epsilon(delta), of_verdicts(fits));
}

}  // namespace dsa::learn
