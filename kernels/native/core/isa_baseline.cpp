// Plain C++ for any machine: what the other instruction sets are tested against.
#include <cstdint>
#include <cstring>

namespace dsa {
namespace {

constexpr int kVectors = 2;
constexpr int kTile = 3;

inline float widen(float value) { return value; }

// float16 → float32 by shifting the bits; subnormals, infinities and NaN included.
inline float widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, magnitude = half & 0x7fff;
  float value;
  if (magnitude >= 0x7c00) {
    const uint32_t bits = sign | 0x7f800000 | (magnitude & 0x3ff) << 13;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  const uint32_t bits = magnitude << 13, factor_bits = 0x77800000;  // 2^112: re-bias the exponent
  float factor;
  std::memcpy(&value, &bits, sizeof value);
  std::memcpy(&factor, &factor_bits, sizeof factor);
  value *= factor;
  return sign ? -value : value;
}

struct Vec {
  static constexpr int kWidth = 4;
  float v[kWidth];
  template <class F>
  static Vec load(const F* from) {
    return {{widen(from[0]), widen(from[1]), widen(from[2]), widen(from[3])}};
  }
  static Vec all(float value) { return {{value, value, value, value}}; }
  void add(Vec other) {
    for (int i = 0; i < kWidth; ++i) v[i] += other.v[i];
  }
  void add_product(Vec a, Vec b) {
    for (int i = 0; i < kWidth; ++i) v[i] += a.v[i] * b.v[i];
  }
  void store(float* to) const { std::memcpy(to, v, sizeof v); }
};

}  // namespace
}  // namespace dsa

#include "kernel.h"
#include "attend_kernel.h"
#include "lane_linear_kernel.h"
#include "add_offsets_kernel.h"
#include "dispatch.h"

namespace dsa {
extern const Kernels kernels_baseline = {unit, rotate_unit, attend_unit, lane_unit, offsets_unit};
}  // namespace dsa
