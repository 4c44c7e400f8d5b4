#include "estimators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "errors.h"
#include "sums.h"

namespace dsa::learn {
namespace {

constexpr double kFloor = 1e-5;  // nats: below it losses in float32 cannot be told apart
constexpr size_t kMostLanes = 1024;

}  // namespace

void Pairs::write_lanes(const float* theta, uint64_t step, size_t first, size_t count, float* out) {
  const size_t size = space_.size();
  const float epsilon = static_cast<float>(hyper_.epsilon);
  const float* from = centre(theta);
  for (size_t lane = first; lane < first + count; lane += 2, out += 2 * size) {
    probed(step, lane / 2, z_.data());
    for (size_t i = 0; i < size; ++i) {
      const float shift = epsilon * z_[i];
      out[i] = from[i] + shift;
      out[size + i] = from[i] - shift;
    }
  }
}

void Pairs::add(const float* scalars, uint64_t step, size_t query, float* sum) {
  returned(step, query, z_.data());
  for (size_t i = 0; i < space_.size(); ++i) sum[i] += scalar(scalars, i) * z_[i];
}

void Antithetic::probed(uint64_t step, size_t query, float* z) {
  signs(Stream(seed_, step, query, Purpose::perturb), 1.0f, space_.size(), z);
}

void Antithetic::add(const float* scalars, uint64_t step, size_t query, float* sum) {
  const Stream stream(seed_, step, query, Purpose::perturb);
  add_signs(stream, scalars, block(), space_.size(), sum);
}

void OneSided::write_lanes(const float* theta, uint64_t step, size_t first, size_t count,
                           float* out) {
  const size_t size = space_.size();
  for (size_t lane = first; lane < first + count; ++lane, out += size) {
    std::copy(theta, theta + size, out);
    if (lane == 0) continue;
    const float epsilon = static_cast<float>(hyper_.epsilon);
    const Stream stream(seed_, step, lane - 1, Purpose::perturb);
    add_signs(stream, &epsilon, nullptr, size, out);
  }
}

void OneSided::slopes(const double* values, size_t each, double epsilon, double* out) const {
  for (size_t q = 0; q < directions_; ++q)
    for (size_t i = 0; i < each; ++i)
      out[q * each + i] = (values[(q + 1) * each + i] - values[i]) / epsilon;
}

// Differences from the centre over their standard deviation; lost ones count in neither.
void OneSided::scalars(const double* slopes, float* out) {
  size_t count = 0;
  for (size_t q = 0; q < directions_; ++q)
    if (std::isfinite(slopes[q])) known_[count++] = slopes[q] * hyper_.epsilon;
  const double spread = count > 1 ? deviation(known_.data(), count, 1) : 0.0;
  for (size_t q = 0; q < directions_; ++q)
    out[q] = std::isfinite(slopes[q])
                 ? static_cast<float>(slopes[q] * hyper_.epsilon / std::max(spread, kFloor))
                 : std::numeric_limits<float>::quiet_NaN();
}

void Mezo::probed(uint64_t step, size_t query, float* z) {
  Stream stream(seed_, step, query, Purpose::perturb);
  for (size_t i = 0; i < space_.size(); ++i) z[i] = stream.gaussian();
}

Axes::Axes(const Hyperparameters& hyper, uint64_t seed, const Space& space)
    : Estimator(hyper, seed, space, false),
      order_(ranks(Stream(seed, 0, 0, Purpose::axes), space.size())) {
  directions_ = std::min(directions_, space.size());
  if (lanes() > kMostLanes)
    throw Error(Kind::usage,
                text("axes would run ", lanes(), " lanes a step for ", width(), " of ",
                     space.size(), " numbers, expected at most ", kMostLanes, ": take ",
                     kMostLanes / 2, " queries or fewer, or export a smaller adapter."));
}

size_t Axes::axis(uint64_t step, size_t query) const {
  return order_[(step * directions_ + query) % space_.size()];
}

void Axes::write_lanes(const float* theta, uint64_t step, size_t first, size_t count, float* out) {
  const size_t size = space_.size();
  const float epsilon = static_cast<float>(hyper_.epsilon);
  for (size_t lane = first; lane < first + count; ++lane, out += size) {
    std::copy(theta, theta + size, out);
    out[axis(step, lane / 2)] += lane % 2 ? -epsilon : epsilon;
  }
}

// The sum over the axes that were not lost.
bool Axes::direction(const float* scalars, uint64_t step, float* gradient) {
  std::fill(gradient, gradient + space_.size(), 0.0f);
  bool usable = false;
  for (size_t query = 0; query < directions_; ++query) {
    if (!std::isfinite(scalars[query])) continue;
    add(scalars + query, step, query, gradient);
    usable = true;
  }
  return usable;
}

void Axes::add(const float* scalars, uint64_t step, size_t query, float* sum) {
  sum[axis(step, query)] = scalars[0];
}

}  // namespace dsa::learn
