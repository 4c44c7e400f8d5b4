#include "looks.h"

#include <cmath>

#include "sums.h"

namespace dsa::learn {
namespace {

// Nats (H,) by which losses fell.
void gains_of(const Floats& old, const Floats& fresh, std::vector<double>& gains) {
  gains.resize(old.size());
  for (size_t i = 0; i < old.size(); ++i) gains[i] = static_cast<double>(old[i]) - fresh[i];
}

// Mean of them and of more gains.
double gain_with(const Floats& old, const Floats& fresh, const std::vector<double>& more) {
  std::vector<double> gains;
  gains_of(old, fresh, gains);
  gains.insert(gains.end(), more.begin(), more.end());
  return mean(gains.data(), gains.size());
}

// Whether the loss fell by more than the standard error of the examples' gains.
bool better(const Floats& old, const Floats& fresh, std::vector<double>& gains) {
  gains_of(old, fresh, gains);
  const double centre = mean(gains.data(), gains.size());
  const double error = deviation(gains.data(), gains.size(), 0) / std::sqrt(double(old.size()));
  return centre > error && centre > 0;
}

}  // namespace

double mean_of(const Floats& losses) {
  std::vector<double> scratch(losses.size());
  return exact_mean(losses.data(), losses.size(), scratch.data());
}

Looks::Looks(const Look& before, const Look& start, const std::vector<double>& levelled,
             size_t early)
    : start_(start),
      best_(start),
      latest_(start),
      biases_gain_(gain_with(before.losses, start.losses, levelled)),
      scratch_(start.losses.size()) {
  early_.reserve(early);
}

void Looks::see(const float* losses, const float* start, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (std::isfinite(losses[i])) early_.push_back(static_cast<double>(start[i]) - losses[i]);
}

void Looks::add(const Look& look) {
  const size_t count = look.losses.size();
  const double fresh = exact_mean(look.losses.data(), count, scratch_.data());
  if (fresh < exact_mean(best_.losses.data(), count, scratch_.data())) best_ = look;
  const bool clearly = better(look.losses, best_.losses, scratch_);
  worse_ = clearly ? worse_ + 1 : 0;
  if (!clearly) latest_ = look;
}

const Look* Looks::verdict() const {
  for (const Look* look : {&latest_, &best_}) {
    const double steps = gain_with(start_.losses, look->losses, early_);
    if (look->kept > 0 && steps > 0 && biases_gain_ + steps > 0) return look;
  }
  // Label biases alone, which a handful of examples tells before any step can be told from luck.
  return biases_gain_ > 0 ? &start_ : nullptr;
}

}  // namespace dsa::learn
