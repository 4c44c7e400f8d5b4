#include "optimizer.h"

#include <algorithm>
#include <cmath>

#include "errors.h"

namespace dsa::learn {
namespace {

constexpr float kTiny = 1e-8f;  // guards against division by zero

}  // namespace

State::State(const Space& space, const Hyperparameters& hyper, uint64_t seed)
    : space_(space),
      hyper_(hyper),
      rule_(Rule::adam),
      estimator_(Estimator::make(hyper, seed, space)),
      theta_(space.start),
      first_(space.size()),
      second_(space.size()),
      gradient_(space.size()),
      by_(space.size()),
      allocation_(hyper.keep < 1 ? space.size() : 0) {
  if (hyper.optimizer == "sgd") rule_ = Rule::sgd;
  if (hyper.optimizer == "momentum") rule_ = Rule::momentum;
  if (hyper.optimizer == "normalized") rule_ = Rule::normalized;
}

void State::reset() {
  theta_ = space_.start;
  std::fill(first_.begin(), first_.end(), 0.0f);
  std::fill(second_.begin(), second_.end(), 0.0f);
  allocation_ = Allocation(hyper_.keep < 1 ? space_.size() : 0);
  square_ = 0, power1_ = power2_ = 1, step_ = 0;
}

void State::update(float rate, const float* scalars) {
  if (estimator_->direction(scalars, step_, gradient_.data()))
    move(gradient_.data(), rate, scalars);
  ++step_;
}

void State::move(const float* gradient, float rate, const float* scalars) {
  power1_ *= hyper_.beta1;  // products, for pow() differs between libraries
  power2_ *= hyper_.beta2;
  if (hyper_.keep < 1) allocation_.observe(theta_.data(), gradient);
  make(gradient, rate, scalars);
  estimator_->move(theta_.data(), by_.data(), step_);
  if (hyper_.keep < 1) allocation_.keep(theta_.data(), static_cast<int64_t>(step_), hyper_);
}

void State::make(const float* gradient, float rate, const float* scalars) {
  const size_t size = theta_.size();
  if (rule_ == Rule::adam) return adam(gradient, rate);
  if (rule_ == Rule::normalized) return normalized(gradient, rate, scalars);
  if (rule_ == Rule::momentum) blend_first(gradient);
  const float* from = rule_ == Rule::momentum ? first_.data() : gradient;
  for (size_t i = 0; i < size; ++i) by_[i] = rate * from[i];
}

void State::blend_first(const float* gradient) {
  const float beta = static_cast<float>(hyper_.beta1), rest = 1.0f - beta;
  for (size_t i = 0; i < first_.size(); ++i) first_[i] = beta * first_[i] + rest * gradient[i];
}

void State::adam(const float* gradient, float rate) {
  blend_first(gradient);
  const float beta = static_cast<float>(hyper_.beta2), rest = 1.0f - beta;
  const float left1 = static_cast<float>(1 - power1_), left2 = static_cast<float>(1 - power2_);
  for (size_t i = 0; i < second_.size(); ++i) {
    second_[i] = beta * second_[i] + rest * (gradient[i] * gradient[i]);
    const float spread = std::sqrt(second_[i] / left2) + kTiny;
    by_[i] = rate * ((first_[i] / left1) / spread);
  }
}

void State::normalized(const float* gradient, float rate, const float* scalars) {
  float squares = 0, known = 0;
  for (size_t i = 0; i < estimator_->width(); ++i)
    if (std::isfinite(scalars[i])) squares += scalars[i] * scalars[i], ++known;
  const float beta = static_cast<float>(hyper_.beta2), rest = 1.0f - beta;
  square_ = beta * square_ + rest * (squares / known);
  const float spread = std::sqrt(square_ / static_cast<float>(1 - power2_)) + kTiny;
  for (size_t i = 0; i < by_.size(); ++i) by_[i] = rate * (gradient[i] / spread);
}

std::vector<Floats> replay(const Space& space, uint64_t seed, const Hyperparameters& hyper,
                           const std::vector<Step>& journal, const std::vector<int64_t>& at) {
  State state(space, hyper, seed);
  const size_t width = state.estimator().width();
  for (const Step& step : journal)
    if (step.scalars.size() != width)
      throw Broken(text(step.scalars.size(), " scalars in a step of ", width));
  const int64_t last = at.empty() ? 0 : *std::max_element(at.begin(), at.end());
  std::vector<Floats> wanted(at.size());
  for (int64_t count = 0; count <= last; ++count) {
    for (size_t i = 0; i < at.size(); ++i)
      if (at[i] == count) wanted[i] = state.theta();
    const size_t next = static_cast<size_t>(count);
    if (next >= journal.size()) {
      for (size_t i = 0; i < at.size(); ++i)
        if (at[i] > count) wanted[i] = state.theta();
      break;
    }
    if (count < last) state.update(journal[next].rate, journal[next].scalars.data());
  }
  return wanted;
}

}  // namespace dsa::learn
