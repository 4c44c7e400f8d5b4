// The estimators whose Gaussian directions are masked, of low rank, or on a grid.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "errors.h"
#include "estimators.h"

namespace dsa::learn {
namespace {

constexpr double kDelta = 0.5;  // grid of quzo's perturbation
constexpr float kMost = 7;      // its largest code: 4 bits with a sign
constexpr float kLimit = 127;   // largest code of quzo's adapter: 8 bits with a sign

float clipped(float x, float most) { return x < -most ? -most : x > most ? most : x; }

// x in steps of a grid, rounded by chance.
float code(float x, double grid, double chance) {
  return static_cast<float>(std::floor(static_cast<double>(x) / grid + chance));
}

int nibble(char digit) {
  const char* digits = "0123456789abcdef";
  const char* found = std::find(digits, digits + 16, digit);
  return found == digits + 16 ? -1 : static_cast<int>(found - digits);
}

}  // namespace

Sparse::Sparse(const Hyperparameters& hyper, uint64_t seed, const Space& space)
    : Pairs(hyper, seed, space) {
  hyper.mask.empty() ? choose_smallest() : choose_given();
}

void Sparse::probed(uint64_t step, size_t query, float* z) {
  std::fill(z, z + space_.size(), 0.0f);
  Stream stream(seed_, step, query, Purpose::perturb);
  for (const size_t i : chosen_) z[i] = stream.gaussian();
}

void Sparse::choose_given() {
  const size_t size = space_.size(), wanted = (size + 7) / 8;
  bool usable = hyper_.mask.size() == 2 * wanted;
  for (size_t bit = 0; usable && bit < 8 * wanted; ++bit) {
    const int high = nibble(hyper_.mask[bit / 8 * 2]), low = nibble(hyper_.mask[bit / 8 * 2 + 1]);
    usable = high >= 0 && low >= 0;
    const bool set = usable && (high << 4 | low) >> bit % 8 & 1;
    if (set) chosen_.push_back(bit);
  }
  if (usable && !chosen_.empty() && chosen_.back() < size) return;
  throw Error(Kind::usage, text("the mask has ", hyper_.mask.size() / 2, " bytes of hex, expected ",
                                wanted, " that choose some of ", size,
                                " numbers: make it with "
                                "`mask_of` from this adapter's sensitivities."));
}

void Sparse::choose_smallest() {
  Stream stream(seed_, 0, 0, Purpose::mask);
  std::vector<uint64_t> chance(space_.size());
  for (uint64_t& word : chance) word = stream.word();
  size_t first = 0;
  for (const Shape& shape : space_.shapes) {
    choose_in_slot(first, size_of(shape), chance);
    first += size_of(shape);
  }
}

void Sparse::choose_in_slot(size_t first, size_t size, const std::vector<uint64_t>& chance) {
  std::vector<size_t> by_size(size);
  std::iota(by_size.begin(), by_size.end(), first);
  const Floats& start = space_.start;
  std::sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) {
    const float left = std::fabs(start[a]), right = std::fabs(start[b]);
    if (left != right) return left < right;
    return chance[a] != chance[b] ? chance[a] < chance[b] : a < b;
  });
  by_size.resize(static_cast<size_t>(std::ceil(hyper_.share * static_cast<double>(size))));
  std::sort(by_size.begin(), by_size.end());
  chosen_.insert(chosen_.end(), by_size.begin(), by_size.end());
}

LowRank::LowRank(const Hyperparameters& hyper, uint64_t seed, const Space& space)
    : Pairs(hyper, seed, space) {
  const size_t rank = static_cast<size_t>(hyper.rank);
  size_t tall = 0, wide = 0;
  for (const Shape& shape : space.shapes) {
    const size_t rows = shape[0], cols = shape.size() > 1 ? size_of(shape) / rows : 0;
    if (cols && rank > std::min(rows, cols))
      throw Error(Kind::usage, text("rank is ", rank, ", and one slot here is ", rows, " × ", cols,
                                    ": expected at most ", std::min(rows, cols),
                                    "; lower the rank, or use estimator mezo."));
    slots_.push_back({rows, cols});
    tall += cols ? rows * rank : rows;
    wide += cols * rank;
  }
  u_.resize(tall), v_.resize(wide);
}

void LowRank::probed(uint64_t step, size_t query, float* z) { products(step, query, 1.0f, z); }

void LowRank::returned(uint64_t step, size_t query, float* z) {
  products(step, query, static_cast<float>(hyper_.rank), z);
}

void LowRank::products(uint64_t step, size_t query, float divisor, float* z) {
  Stream tall(seed_, step, query, Purpose::perturb);
  for (float& number : u_) number = tall.gaussian();
  const uint64_t period = step / static_cast<uint64_t>(hyper_.refresh);
  if (period != period_) {
    Stream wide(seed_, period, 0, Purpose::subspace);
    for (float& number : v_) number = wide.gaussian();
    period_ = period;
  }
  const size_t rank = static_cast<size_t>(hyper_.rank);
  const float *u = u_.data(), *v = v_.data();
  for (const Slot& slot : slots_) {
    if (!slot.cols) z = std::copy(u, u + slot.rows, z), u += slot.rows;
    for (size_t row = 0; slot.cols && row < slot.rows; ++row, u += rank)
      for (size_t col = 0; col < slot.cols; ++col) {
        float total = 0;  // one term after the other
        for (size_t k = 0; k < rank; ++k) total += u[k] * v[col * rank + k];
        *z++ = total / divisor;
      }
    v += slot.cols * rank;
  }
}

Quzo::Quzo(const Hyperparameters& hyper, uint64_t seed, const Space& space)
    : Pairs(hyper, seed, space), grid_(hyper.grid), centre_(space.size()) {
  double largest = 0;
  for (const float number : space.start) largest = std::max(largest, std::fabs(double(number)));
  while (largest > grid_ * kLimit / 2 && std::isfinite(largest)) grid_ *= 2;
}

float Quzo::nearest(float number) const {
  const float grid = static_cast<float>(grid_);
  return grid * clipped(std::nearbyint(number / grid), kLimit);
}

const float* Quzo::centre(const float* theta) {
  for (size_t i = 0; i < centre_.size(); ++i) centre_[i] = nearest(theta[i]);
  return centre_.data();
}

void Quzo::probed(uint64_t step, size_t query, float* z) {
  rounded_normal(step, query, Purpose::round_probe, z);
}

void Quzo::returned(uint64_t step, size_t query, float* z) {
  rounded_normal(step, query, Purpose::round_back, z);
}

void Quzo::rounded_normal(uint64_t step, size_t query, Purpose purpose, float* z) {
  Stream normal(seed_, step, query, Purpose::perturb), chance(seed_, step, query, purpose);
  for (size_t i = 0; i < space_.size(); ++i) {
    const float number = normal.gaussian();
    z[i] = static_cast<float>(kDelta) * clipped(code(number, kDelta, chance.uniform()), kMost);
  }
}

// On the grid again, by a step that is rounded to it.
void Quzo::move(float* theta, const float* by, uint64_t step) {
  Stream chance(seed_, step, 0, Purpose::round_state);
  const float grid = static_cast<float>(grid_);
  for (size_t i = 0; i < space_.size(); ++i) {
    const float codes = code(by[i], grid_, chance.uniform());
    theta[i] = nearest(nearest(theta[i]) - grid * codes);
  }
}

}  // namespace dsa::learn
