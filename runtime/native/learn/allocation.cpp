#include "allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "errors.h"
#include "rounding.h"

namespace dsa::learn {
namespace {

constexpr float kDecay = 0.85f, kRest = 0.15f;

}  // namespace

Allocation::Allocation(size_t size) : mean_(size), spread_(size), score_(size), order_(size) {}

void Allocation::observe(const float* theta, const float* gradient) {
  for (size_t i = 0; i < mean_.size(); ++i) {
    const float importance = std::fabs(theta[i] * gradient[i]);
    mean_[i] = kDecay * mean_[i] + kRest * importance;
    spread_[i] = kDecay * spread_[i] + kRest * std::fabs(importance - mean_[i]);
  }
}

void Allocation::rank() {
  for (size_t i = 0; i < mean_.size(); ++i) score_[i] = mean_[i] * spread_[i];
  std::iota(order_.begin(), order_.end(), 0u);
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    return score_[a] != score_[b] ? score_[a] > score_[b] : a < b;
  });
}

void Allocation::keep(float* theta, int64_t step, const Hyperparameters& hyper) {
  const int64_t size = static_cast<int64_t>(mean_.size());
  const int64_t budget = budget_at(step, size, hyper);
  const bool ended = step >= hyper.keep_until;
  if (budget == size || !(ended || (step + 1) % hyper.keep_every == 0)) return;
  if (!left_) rank();
  const size_t left = left_ ? left_ : static_cast<size_t>(budget);
  left_ = ended ? left : 0;
  for (size_t i = left; i < order_.size(); ++i) theta[order_[i]] = 0;
}

int64_t budget_at(int64_t step, int64_t size, const Hyperparameters& hyper) {
  const int64_t least = std::max<int64_t>(1, rounded(hyper.keep * static_cast<double>(size)));
  if (step <= hyper.keep_from) return size;
  if (step >= hyper.keep_until) return least;
  const double span = static_cast<double>(hyper.keep_until - hyper.keep_from);
  const double left = 1 - static_cast<double>(step - hyper.keep_from) / span;
  return least + rounded(static_cast<double>(size - least) * std::pow(left, 3));
}

void check_budget(const Hyperparameters& hyper, size_t size, int64_t steps) {
  if (hyper.keep * static_cast<double>(size) < 1)
    throw Error(Kind::usage, text("keep is ", hyper.keep, " of an adapter of ", size,
                                  " numbers, which is less than one: take ",
                                  1 / static_cast<double>(size), " or more."));
  if (hyper.keep < 1 && steps <= hyper.keep_until)
    throw Error(Kind::usage,
                text("numbers are taken away until step ", hyper.keep_until, " of at most ", steps,
                     ": allow more steps, or lower `keep_until`."));
}

}  // namespace dsa::learn
