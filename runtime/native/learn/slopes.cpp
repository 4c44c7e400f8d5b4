#include "slopes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "calibration.h"
#include "errors.h"
#include "sums.h"

namespace dsa::learn {
namespace {

constexpr size_t kLeast = 3;  // examples of the same blocks that can tell what moves them alike
constexpr double kLost = std::numeric_limits<double>::quiet_NaN();

double finite_or_lost(double x) { return std::isfinite(x) ? x : kLost; }

}  // namespace

Slopes::Slopes(Estimator& estimator, size_t batch, size_t choices)
    : estimator_(estimator),
      choices_(choices),
      lanes_(estimator.lanes()),
      directions_(estimator.directions()),
      groups_(estimator.hyper().learns_gate() ? static_cast<size_t>(estimator.hyper().draws) : 1),
      finite_(lanes_),
      values_(lanes_ * batch * std::max<size_t>(1, choices)),
      raw_(directions_ * batch * std::max<size_t>(1, choices)),
      slopes_(directions_ * batch),
      residual_(batch * choices),
      centre_(batch * choices),
      offered_(batch * choices),
      own_(2 * choices),
      scalars_(estimator.width()) {}

void Slopes::from_losses(const float* losses, size_t batch, Served served, float* out) {
  for (size_t i = 0; i < lanes_ * batch; ++i) values_[i] = losses[i];
  if (estimator_.parts() == 1) {
    for (size_t lane = 0; lane < lanes_; ++lane)
      values_[lane] = mean(values_.data() + lane * batch, batch);
    estimator_.slopes(values_.data(), 1, estimator_.hyper().epsilon, scalars_.data());
  } else {
    estimator_.slopes(values_.data(), batch, estimator_.hyper().epsilon, slopes_.data());
    per_block(batch, served);
  }
  std::transform(scalars_.begin(), scalars_.end(), scalars_.begin(), finite_or_lost);
  estimator_.scalars(scalars_.data(), out);
}

void Slopes::from_scores(const float* scores, const uint32_t* answers, size_t batch, Served served,
                         float* out) {
  changes(scores, answers, batch, served);
  if (estimator_.parts() > 1) {
    per_block(batch, served);
  } else {  // rounded to float32 here, as Python does
    for (size_t q = 0; q < directions_; ++q)
      scalars_[q] = static_cast<float>(finite_or_lost(mean(&slopes_[q * batch], batch)));
  }
  estimator_.scalars(scalars_.data(), out);
}

// Derivatives (q, B) of each example's calibrated loss, into slopes_. Lanes of another route
// predict otherwise, so each group has residuals of its own.
void Slopes::changes(const float* scores, const uint32_t* answers, size_t batch, Served served) {
  const size_t each = batch * choices_;
  for (size_t lane = 0; lane < lanes_; ++lane)
    finite_[lane] = std::all_of(scores + lane * each, scores + (lane + 1) * each,
                                [](float s) { return std::isfinite(s); });
  for (size_t i = 0; i < lanes_ * each; ++i) values_[i] = scores[i];
  estimator_.slopes(values_.data(), each, estimator_.hyper().epsilon, raw_.data());
  const size_t apart = directions_ / groups_ * served.stride;
  for (size_t group = 0; group < groups_; ++group)
    changes(group, scores, answers, batch, served.blocks ? served.blocks + group * apart : nullptr);
}

// Those of a group; lost where none of its lanes is whole.
void Slopes::changes(size_t group, const float* scores, const uint32_t* answers, size_t batch,
                     const uint8_t* served) {
  const size_t each = directions_ / groups_ * batch, first = group * each;
  const bool known = residuals(group, scores, answers, batch);
  if (known) centre(batch, served);
  for (size_t i = first; i < first + each; ++i) {
    for (size_t k = 0; k < choices_; ++k)
      own_[k] = residual_[i % batch * choices_ + k] * raw_[i * choices_ + k];
    slopes_[i] = known ? sum(own_.data(), choices_) : kLost;
  }
}

// Mean prediction of a group's whole lanes less target: (B, K). False where no lane is whole.
bool Slopes::residuals(size_t group, const float* scores, const uint32_t* answers, size_t batch) {
  const size_t each = batch * choices_, lanes = lanes_ / groups_;
  std::fill(residual_.begin(), residual_.end(), 0.0);
  double whole = 0, *p = own_.data(), *exact = p + choices_;
  for (size_t lane = group * lanes; lane < (group + 1) * lanes; ++lane) {
    if (!finite_[lane]) continue;
    const float* all = scores + lane * each;
    for (size_t i = 0; whole == 0 && i < each; ++i) offered_[i] = all[i] > kAbsent / 2;
    ++whole;
    for (size_t b = 0; b < batch; ++b) {
      const float* own = scores + lane * each + b * choices_;
      std::copy(own, own + choices_, exact);
      softmax(exact, nullptr, choices_, p);
      for (size_t k = 0; k < choices_; ++k) residual_[b * choices_ + k] += p[k];
    }
  }
  if (whole == 0) return false;
  const double smoothing = estimator_.hyper().smoothing;
  for (size_t i = 0; i < each; ++i) residual_[i] /= whole;
  for (size_t b = 0; b < batch; ++b) residual_[b * choices_ + answers[b]] -= 1 - smoothing;
  for (size_t b = 0; b < batch; ++b) {
    const uint8_t* own = &offered_[b * choices_];
    const double share = smoothing / std::accumulate(own, own + choices_, 0.0);
    for (size_t k = 0; k < choices_; ++k) residual_[b * choices_ + k] -= share * own[k];
  }
  return true;
}

// Takes from the residuals the mean of what moves alike: of examples with the same choices, and of
// those with the same blocks where they are enough to tell.
void Slopes::centre(size_t batch, const uint8_t* served) {
  std::fill(centre_.begin(), centre_.end(), 0.0);
  for (size_t b = 0; b < batch; ++b)
    if (!served || !mean_of_alike(b, batch, served, kLeast)) mean_of_alike(b, batch, nullptr, 2);
  for (size_t i = 0; i < batch * choices_; ++i) residual_[i] -= centre_[i];
}

// The mean residual of an example's like, into its row of centre_; false where they are too few.
bool Slopes::mean_of_alike(size_t example, size_t batch, const uint8_t* served, size_t least) {
  const size_t blocks = estimator_.blocks();
  const auto like = [&](size_t b) {
    return std::equal(&offered_[b * choices_], &offered_[b * choices_] + choices_,
                      &offered_[example * choices_]) &&
           (!served ||
            std::equal(served + b * blocks, served + (b + 1) * blocks, served + example * blocks));
  };
  double count = 0, *total = &centre_[example * choices_];
  for (size_t b = 0; b < batch; ++b) {
    if (!like(b)) continue;
    ++count;
    for (size_t k = 0; k < choices_; ++k) total[k] += residual_[b * choices_ + k];
  }
  const bool enough = count >= static_cast<double>(least);
  for (size_t k = 0; k < choices_; ++k) total[k] = enough ? total[k] / count : 0.0;
  return enough;
}

// Scalars (q N) from each example's own slopes (q, B): to a block, other blocks' examples add
// nothing. A direction counts as a whole or not at all.
void Slopes::per_block(size_t batch, Served served) {
  const size_t blocks = estimator_.parts();
  if (!served.blocks) throw Broken(text("slopes of ", blocks, " blocks without a route"));
  for (size_t q = 0; q < directions_; ++q) {
    const double* own = slopes_.data() + q * batch;
    const uint8_t* by = served.blocks + q * served.stride;
    const bool whole = std::all_of(own, own + batch, [](double s) { return std::isfinite(s); });
    for (size_t n = 0; n < blocks; ++n) {
      double total = 0;
      for (size_t b = 0; b < batch; ++b) total += own[b] * by[b * blocks + n];
      scalars_[q * blocks + n] = whole ? total / static_cast<double>(batch) : kLost;
    }
  }
}

}  // namespace dsa::learn
