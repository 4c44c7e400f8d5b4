#include "sums.h"

#include <algorithm>
#include <cmath>

namespace dsa::learn {
namespace {

constexpr size_t kLanes = 8, kBlock = 128;

template <class T>
T few(const T* x, size_t count) {
  T total = T(0);
  for (size_t i = 0; i < count; ++i) total += x[i];
  return total;
}

template <class T>
T block(const T* x, size_t count) {
  T r[kLanes];
  for (size_t k = 0; k < kLanes; ++k) r[k] = x[k];
  size_t i = kLanes;
  for (; i + kLanes <= count; i += kLanes)
    for (size_t k = 0; k < kLanes; ++k) r[k] += x[i + k];
  T total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < count; ++i) total += x[i];
  return total;
}

template <class T>
T pairwise(const T* x, size_t count) {
  if (count < kLanes) return few(x, count);
  if (count <= kBlock) return block(x, count);
  const size_t half = count / 2 - count / 2 % kLanes;
  return pairwise(x, half) + pairwise(x + half, count - half);
}

}  // namespace

double sum(const double* numbers, size_t count) { return pairwise(numbers, count); }
float sum(const float* numbers, size_t count) { return pairwise(numbers, count); }

double mean(const double* numbers, size_t count) {
  return sum(numbers, count) / static_cast<double>(count);
}

float mean(const float* numbers, size_t count) {
  return sum(numbers, count) / static_cast<float>(count);
}

double exact_mean(const float* numbers, size_t count, double* scratch) {
  for (size_t i = 0; i < count; ++i) scratch[i] = numbers[i];
  return mean(scratch, count);
}

double deviation(double* numbers, size_t count, size_t less) {
  const double centre = mean(numbers, count);
  for (size_t i = 0; i < count; ++i) {
    const double apart = numbers[i] - centre;
    numbers[i] = apart * apart;
  }
  return std::sqrt(sum(numbers, count) / static_cast<double>(count - less));
}

double median(std::vector<double> of) {
  if (of.empty()) return 0;
  std::sort(of.begin(), of.end());
  const size_t half = of.size() / 2;
  return of.size() % 2 ? of[half] : (of[half - 1] + of[half]) / 2;
}

}  // namespace dsa::learn
