#include "private_trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration.h"
#include "sums.h"

namespace dsa::learn {
namespace {

constexpr double kMostNats = 2.0;  // to which a held-out example's loss is clipped in the verdict
constexpr double kSettled = 0.1;   // least step of the bias; 1 would be a Newton step

// NaN and infinities would show whatever the noise.
double finite(double value) { return std::isfinite(value) ? value : 0; }

}  // namespace

PrivateTrainer::PrivateTrainer(Objective& objective, const Split& split, const Space& space,
                               const Hyperparameters& hyper, uint64_t seed, const Hooks& hooks,
                               Pace& pace, Mechanism& mechanism, double verdict)
    : objective_(objective),
      split_(split),
      hyper_(hyper),
      hooks_(hooks),
      pace_(pace),
      mechanism_(mechanism),
      verdict_(verdict),
      state_(space, hyper, seed),
      estimator_(state_.estimator()) {
  lanes_.resize(std::min(estimator_.at_a_time(), estimator_.lanes()) * space.size());
  scalars_.resize(estimator_.width());
}

Outcome PrivateTrainer::run() {
  const Floats start = state_.theta(), bias = objective_.bias;
  pace_.begin();
  for (int64_t index = 0; index < pace_.steps; ++index) {
    pace_.pause();
    const double progress = pace_.progress(index);
    if (progress >= 1 || (hooks_.stop && hooks_.stop()) || !next(index, progress)) break;
  }
  const Floats learned = objective_.bias;
  const Look before = look(start, bias), after = look(state_.theta(), learned);
  Outcome outcome;
  const bool kept = judge(before, after, outcome) && state_.step();
  outcome.verdict = kept ? "improved" : "no improvement";
  outcome.kept = kept ? after : before;
  outcome.calibrated = outcome.before;
  if (!kept) outcome.after = outcome.before;
  outcome.steps = static_cast<int64_t>(state_.step()), outcome.tokens = tokens_;
  outcome.step_seconds = median(times_), outcome.curve = std::move(curve_);
  return outcome;
}

// One step, and what is told of it: no loss, for those are not noised. False where it is the last.
bool PrivateTrainer::next(int64_t index, double progress) {
  const double began = pace_.elapsed();
  step(progress);
  times_.push_back(pace_.elapsed() - began);
  constexpr double kUntold = std::numeric_limits<double>::quiet_NaN();
  curve_.push_back({index + 1, kUntold, pace_.elapsed(), tokens_, {}, {}});
  return !hooks_.on_step || hooks_.on_step(curve_.back());
}

void PrivateTrainer::step(double progress) {
  Indices chosen = mechanism_.sample(split_.train.size());
  for (uint32_t& at : chosen) at = split_.train[at];
  const Some batch{chosen.data(), chosen.size()};
  tokens_ += static_cast<int64_t>(estimator_.lanes()) * objective_.tokens(batch);
  slopes_.assign(estimator_.width() * batch.count, 0);
  objective_.sets() > 1 || objective_.choices.empty() ? measure_losses(batch)
                                                      : measure_choices(batch);
  const float rate = static_cast<float>(hyper_.rate_at(progress));
  hooks_.record(rate, scalars_.data(), scalars_.size());
  state_.update(rate, scalars_.data());
}

// Calls measure(first lane, lanes) for blocks of lanes; never for an empty batch.
template <class Measure>
void PrivateTrainer::each_block(Measure measure) {
  for (size_t lane = 0; lane < estimator_.lanes();) {
    const size_t count = std::min(estimator_.at_a_time(), estimator_.lanes() - lane);
    estimator_.write_lanes(state_.theta().data(), state_.step(), lane, count, lanes_.data());
    measure(lane, Lanes{lanes_.data(), count});
    lane += count;
  }
}

void PrivateTrainer::measure_losses(Some batch) {
  const size_t count = batch.count;
  raw_.resize(estimator_.lanes() * count);
  if (count)
    each_block([&](size_t first, Lanes lanes) {
      objective_.losses(batch, lanes, raw_.data() + first * count);
    });
  for (size_t i = 0; i < slopes_.size(); ++i) {
    const size_t up = i / count * 2 * count + i % count;
    slopes_[i] = finite((double(raw_[up]) - double(raw_[up + count])) / (2 * hyper_.epsilon));
  }
  mechanism_.slopes(slopes_, estimator_.width(), false, scalars_.data());
}

void PrivateTrainer::measure_choices(Some batch) {
  const size_t choices = objective_.choices.size(), each = batch.count * choices;
  raw_.resize(estimator_.lanes() * each);
  if (each)
    each_block([&](size_t first, Lanes lanes) {
      objective_.scores(batch, lanes, raw_.data() + first * each);
    });
  residuals(batch);
  const std::vector<double> centre = mechanism_.centre(residuals_, choices);
  move_bias(centre);
  std::vector<double> products(choices);
  for (size_t i = 0; i < slopes_.size(); ++i) {
    const size_t b = i % batch.count;
    const float* up = raw_.data() + i / batch.count * 2 * each + b * choices;
    for (size_t k = 0; k < choices; ++k)
      products[k] = (residuals_[b * choices + k] - centre[k]) *
                    ((double(up[k]) - double(up[each + k])) / (2 * hyper_.epsilon));
    slopes_[i] = finite(sum(products.data(), choices));
  }
  mechanism_.slopes(slopes_, estimator_.width(), true, scalars_.data());
}

// Prediction less target (B, K); the prediction is the mean of the lanes'.
void PrivateTrainer::residuals(Some batch) {
  const size_t choices = objective_.choices.size(), each = batch.count * choices;
  const std::vector<double> bias(objective_.bias.begin(), objective_.bias.end());
  std::vector<double> scores(choices), shares(choices);
  residuals_.assign(each, 0);
  for (size_t i = 0; i < raw_.size(); i += choices) {
    std::transform(&raw_[i], &raw_[i] + choices, scores.begin(), finite);
    softmax(scores.data(), bias.data(), choices, shares.data());
    for (size_t k = 0; k < choices; ++k) residuals_[i % each + k] += shares[k];
  }
  for (double& residual : residuals_) residual /= static_cast<double>(estimator_.lanes());
  for (size_t b = 0; b < batch.count; ++b)
    residuals_[b * choices + objective_.answers[batch.at[b]]] -= 1 - hyper_.smoothing;
  for (double& residual : residuals_) residual -= hyper_.smoothing / static_cast<double>(choices);
}

// Towards residuals of mean 0 (Robbins and Monro 1951); one half bounds the curvature.
void PrivateTrainer::move_bias(const std::vector<double>& centre) {
  const double by = 2 * std::max(1 / static_cast<double>(state_.step() + 1), kSettled);
  const double middle = mean(centre.data(), centre.size());
  for (size_t k = 0; k < centre.size(); ++k)
    objective_.bias[k] = static_cast<float>(objective_.bias[k] - by * (centre[k] - middle));
}

// What an adapter with its biases makes of the held-out examples.
Look PrivateTrainer::look(const Floats& adapter, const Floats& bias) {
  const Some held{split_.held_out.data(), split_.held_out.size()};
  Look look;
  look.adapter = adapter, look.bias = objective_.bias = bias;
  look.kept = static_cast<int64_t>(state_.step());
  look.losses.resize(held.count), look.right.resize(held.count);
  tokens_ += objective_.tokens(held);
  objective_.losses(held, {adapter.data(), 1}, look.losses.data(), look.right.data());
  return look;
}

// Noised results before and after, and whether they are better. Half of epsilon is for what
// decides: its sum stands for four others.
bool PrivateTrainer::judge(const Look& before, const Look& after, Outcome& outcome) {
  Source& source = mechanism_.source();
  const size_t count = before.losses.size();
  const auto noisy = [&](const auto& values, double bound, double columns) {
    std::vector<double> whole(count);
    std::transform(values.begin(), values.end(), whole.begin(), finite);
    return noisy_sum(std::move(whole), bound, bound * columns / (verdict_ / 2), source);
  };
  Floats gains(count);
  for (size_t i = 0; i < count; ++i) gains[i] = before.losses[i] - after.losses[i];
  const double gain = noisy(gains, 1.0, 1);
  const double all = static_cast<double>(std::max<size_t>(1, count));
  outcome.before = {count, noisy(before.losses, kMostNats, 4) / all, {}};
  outcome.after = {count, noisy(after.losses, kMostNats, 4) / all, {}};
  const auto accuracy = [&](const Look& look) {
    const double right = noisy(look.right, 1.0, 4) / all;
    if (objective_.choices.empty()) return std::optional<double>();
    return std::optional<double>(std::clamp(right, 0.0, 1.0));
  };
  outcome.before.accuracy = accuracy(before), outcome.after.accuracy = accuracy(after);
  return gain > 0;
}

}  // namespace dsa::learn
