#include "estimator.h"

#include <algorithm>
#include <cmath>

#include "errors.h"
#include "estimators.h"

namespace dsa::learn {
namespace {

constexpr size_t kBlock = size_t{1} << 24;  // bytes of lanes that are made at a time

}  // namespace

Estimator::Estimator(const Hyperparameters& hyper, uint64_t seed, const Space& space, bool by_block)
    : hyper_(hyper),
      seed_(seed),
      space_(space),
      directions_(static_cast<size_t>(hyper.queries)),
      parts_(by_block && hyper.slopes == "blocks" ? space.blocks : 1) {}

size_t Estimator::at_a_time() const {
  return 2 * std::max<size_t>(1, kBlock / (8 * std::max<size_t>(1, space_.size())));
}

void Estimator::slopes(const double* values, size_t each, double epsilon, double* out) const {
  for (size_t q = 0; q < directions_; ++q)
    for (size_t i = 0; i < each; ++i)
      out[q * each + i] =
          (values[2 * q * each + i] - values[(2 * q + 1) * each + i]) / (2 * epsilon);
}

void Estimator::scalars(const double* slopes, float* out) {
  for (size_t i = 0; i < width(); ++i) out[i] = static_cast<float>(slopes[i]);
}

bool Estimator::direction(const float* scalars, uint64_t step, float* gradient) {
  const size_t size = space_.size();
  std::fill(gradient, gradient + size, 0.0f);
  size_t usable = 0;
  for (size_t query = 0; query < directions_; ++query) {
    const float* own = scalars + query * parts_;
    if (!std::all_of(own, own + parts_, [](float c) { return std::isfinite(c); })) continue;
    ++usable;
    if (std::any_of(own, own + parts_, [](float c) { return c != 0; }))
      add(own, step, query, gradient);
  }
  const float count = static_cast<float>(usable);
  for (size_t i = 0; usable && i < size; ++i) gradient[i] /= count;
  return usable > 0;
}

void Estimator::move(float* theta, const float* by, uint64_t) {
  for (size_t i = 0; i < space_.size(); ++i) theta[i] -= by[i];
}

std::unique_ptr<Estimator> Estimator::make(const Hyperparameters& hyper, uint64_t seed,
                                           const Space& space) {
  const std::string& name = hyper.estimator;
  if (name == "antithetic") return std::make_unique<Antithetic>(hyper, seed, space);
  if (name == "one-sided") return std::make_unique<OneSided>(hyper, seed, space);
  if (name == "mezo") return std::make_unique<Mezo>(hyper, seed, space);
  if (name == "quzo") return std::make_unique<Quzo>(hyper, seed, space);
  if (name == "sparse") return std::make_unique<Sparse>(hyper, seed, space);
  if (name == "lowrank") return std::make_unique<LowRank>(hyper, seed, space);
  if (name == "axes") return std::make_unique<Axes>(hyper, seed, space);
  throw Error(Kind::usage,
              text("estimator ", name,
                   " needs graphs of gradients, which this runner "
                   "does not have: use another estimator, or backend onnx in Python."));
}

}  // namespace dsa::learn
