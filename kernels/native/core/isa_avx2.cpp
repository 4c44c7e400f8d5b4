// 8 lanes, fused multiply-add and float16 conversion: compiled with -mavx2 -mfma -mf16c.
#include <immintrin.h>

#include <cstdint>

namespace dsa {
namespace {

constexpr int kVectors = 2;  // a tile is 6 × 2 of the 16 registers, and 3 more are in flight
constexpr int kTile = 6;

struct Vec {
  static constexpr int kWidth = 8;
  __m256 v;
  static Vec load(const float* from) { return {_mm256_loadu_ps(from)}; }
  static Vec load(const uint16_t* from) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static Vec all(float value) { return {_mm256_set1_ps(value)}; }
  void add(Vec other) { v = _mm256_add_ps(v, other.v); }
  void add_product(Vec a, Vec b) { v = _mm256_fmadd_ps(a.v, b.v, v); }
  void store(float* to) const { _mm256_storeu_ps(to, v); }
};

}  // namespace
}  // namespace dsa

#include "kernel.h"
#include "attend_kernel.h"
#include "lane_linear_kernel.h"
#include "add_offsets_kernel.h"
#include "dispatch.h"

namespace dsa {
extern const Kernels kernels_avx2 = {unit, rotate_unit, attend_unit, lane_unit, offsets_unit};
}  // namespace dsa
