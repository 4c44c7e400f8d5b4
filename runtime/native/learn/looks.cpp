#include "looks.h"

#include <cmath>

#include "sums.h"

namespace dsa::learn {
namespace {

// Whether the loss fell by more than the standard error of the examples' gains.
bool better(const Floats& old, const Floats& fresh, std::vector<double>& gains) {
  gains.resize(old.size());
  for (size_t i = 0; i < old.size(); ++i) gains[i] = static_cast<double>(old[i]) - fresh[i];
  const double centre = mean(gains.data(), gains.size());
  const double error = deviation(gains.data(), gains.size(), 0) / std::sqrt(double(old.size()));
  return centre > error && centre > 0;
}

}  // namespace

double mean_of(const Floats& losses) {
  std::vector<double> scratch(losses.size());
  return exact_mean(losses.data(), losses.size(), scratch.data());
}

Looks::Looks(const Look& before, const Look& start, size_t early)
    : before_(before.losses),
      start_(start.losses),
      first_(start),
      best_(start),
      latest_(start),
      scratch_(start.losses.size()) {
  early_before_.reserve(early), early_start_.reserve(early);
}

void Looks::see(const float* losses, const float* before, const float* start, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(losses[i])) continue;
    early_before_.push_back(before[i] - losses[i]);
    early_start_.push_back(start[i] - losses[i]);
  }
}

void Looks::add(const Look& look) {
  const size_t count = look.losses.size();
  const double fresh = exact_mean(look.losses.data(), count, scratch_.data());
  if (fresh < exact_mean(best_.losses.data(), count, scratch_.data())) best_ = look;
  const bool clearly = better(look.losses, best_.losses, scratch_);
  worse_ = clearly ? worse_ + 1 : 0;
  if (!clearly) latest_ = look;
}

// Mean gain of a look over other losses, those of the first pass among them.
double Looks::gain(const Floats& from, const Look& look, const Floats& early) const {
  std::vector<double> gains;
  for (size_t i = 0; i < from.size(); ++i) gains.push_back(from[i] - look.losses[i]);
  gains.insert(gains.end(), early.begin(), early.end());
  return mean(gains.data(), gains.size());
}

const Look* Looks::verdict() const {
  for (const Look* look : {&latest_, &best_})
    if (look->kept > 0 && gain(before_, *look, early_before_) > 0 &&
        gain(start_, *look, early_start_) > 0)
      return look;
  // Label biases alone, which a handful of examples tells before any step can be told from luck.
  Floats early;
  for (size_t i = 0; i < early_before_.size(); ++i)
    early.push_back(early_before_[i] - early_start_[i]);
  return gain(before_, first_, early) > 0 ? &first_ : nullptr;
}

}  // namespace dsa::learn
