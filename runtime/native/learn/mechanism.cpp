#include "mechanism.h"

#include <algorithm>
#include <cmath>

#include "sums.h"

namespace dsa::learn {
namespace {

constexpr double kTwoPi = 6.283185307179586;
constexpr double kCentreShare = 0.2;     // of the privacy of a step, for the mean residual
constexpr double kFractionWeight = 0.5;  // of "was not clipped" beside the slopes
constexpr double kClipRate = 0.5, kClipQuantile = 0.9;  // the bound follows it so fast
constexpr size_t kAtATime = 4096;                       // bytes that the system is asked for

// What a row of a norm is multiplied by, so that it has norm 1 at most.
double clip(double norm) { return std::min(1.0, 1.0 / std::max(norm, 1e-30)); }

// Norms (B,) of the columns of rows (q, B), in numpy's order.
std::vector<double> norms(const std::vector<double>& rows, size_t queries) {
  const size_t count = rows.size() / queries;
  std::vector<double> squares(rows.size()), found(count);
  for (size_t i = 0; i < rows.size(); ++i) squares[i] = rows[i] * rows[i];
  if (count == 1) return {std::sqrt(sum(squares.data(), queries))};
  for (size_t i = 0; i < rows.size(); ++i) found[i % count] += squares[i];
  for (double& norm : found) norm = std::sqrt(norm);
  return found;
}

}  // namespace

double Source::uniform() {
  uint8_t bytes[7];
  fill(bytes, sizeof bytes);
  uint64_t whole = 0;
  for (const uint8_t byte : bytes) whole = whole << 8 | byte;
  return static_cast<double>(whole >> 3) * 0x1p-53;
}

double Source::gaussian(double spread) {
  if (other_) {
    const double kept = *other_;
    other_.reset();
    return kept * spread;
  }
  const double angle = uniform() * kTwoPi, radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  other_ = std::sin(angle) * radius;
  return std::cos(angle) * radius * spread;
}

double Source::laplace(double scale) {
  uint8_t two = 2;
  while (two >= 2) {
    fill(&two, 1);
    two >>= 6;
  }
  const double size = -std::log(1.0 - uniform()) / (1 / scale);
  return two ? size : -size;
}

void SystemSource::fill(uint8_t* out, size_t count) {
  if (bytes_.size() < count) bytes_ = random_bytes(kAtATime);
  std::copy(bytes_.end() - static_cast<std::ptrdiff_t>(count), bytes_.end(), out);
  bytes_.resize(bytes_.size() - count);
}

std::vector<uint32_t> Mechanism::sample(size_t count) {
  const double share = expected_ / static_cast<double>(count);
  std::vector<uint32_t> chosen;
  for (size_t i = 0; i < count; ++i)
    if (source_.uniform() < share) chosen.push_back(static_cast<uint32_t>(i));
  return chosen;
}

std::vector<double> Mechanism::centre(const std::vector<double>& residuals, size_t choices) {
  const double spread = noise_ / std::sqrt(kCentreShare);
  std::vector<double> total(choices), squares(choices);
  for (auto row = residuals.begin(); row != residuals.end();
       row += static_cast<std::ptrdiff_t>(choices)) {
    std::transform(row, row + static_cast<std::ptrdiff_t>(choices), squares.begin(),
                   [](double x) { return x * x; });
    const double by = clip(std::sqrt(sum(squares.data(), choices)));
    for (size_t k = 0; k < choices; ++k) total[k] += row[static_cast<std::ptrdiff_t>(k)] * by;
  }
  for (double& each : total) each = (each + source_.gaussian(spread)) / expected_;
  return total;
}

void Mechanism::slopes(const std::vector<double>& slopes, size_t queries, bool centred,
                       float* mean) {
  const size_t count = slopes.size() / queries;
  const double share = centred ? 1 - kCentreShare : 1.0;
  // The norm of a row and its count together is so much at most.
  const double spread = noise_ / std::sqrt(share) * std::hypot(1, kFractionWeight / 2);
  std::vector<double> scaled(slopes.size()), inside;
  for (const double norm : norms(slopes, queries))
    inside.push_back(kFractionWeight * ((norm <= bound_ ? 1 : 0) - 0.5));
  for (size_t i = 0; i < slopes.size(); ++i) scaled[i] = slopes[i] / bound_;
  const std::vector<double> own = norms(scaled, queries);
  for (size_t i = 0; i < slopes.size(); ++i) scaled[i] *= clip(own[i % count]);
  for (size_t q = 0; q < queries; ++q) {
    const double total = sum(scaled.data() + q * count, count) + source_.gaussian(spread);
    mean[q] = static_cast<float>(bound_ * total / expected_);
  }
  follow(sum(inside.data(), count), spread);
}

// Moves the bound, by how many slopes were inside of it.
void Mechanism::follow(double inside, double spread) {
  const double fraction = inside + source_.gaussian(spread);
  const double above = fraction / kFractionWeight / expected_ + 0.5 - kClipQuantile;
  bound_ *= std::exp(-kClipRate * std::clamp(above, -1.0, 1.0));
}

double noisy_sum(std::vector<double> values, double bound, double scale, Source& source) {
  for (double& value : values) value = std::clamp(value, -bound, bound);
  return sum(values.data(), values.size()) + source.laplace(scale);
}

}  // namespace dsa::learn
