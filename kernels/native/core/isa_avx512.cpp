// 16 lanes: compiled with -mavx512f.
#include <immintrin.h>

#include <cstdint>

namespace dsa {
namespace {

constexpr int kVectors = 1;
constexpr int kTile = 12;  // as many sums as hide the latency of a fused multiply-add twice over

struct Vec {
  static constexpr int kWidth = 16;
  __m512 v;
  static Vec load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static Vec load(const uint16_t* from) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static Vec all(float value) { return {_mm512_set1_ps(value)}; }
  void add(Vec other) { v = _mm512_add_ps(v, other.v); }
  void add_product(Vec a, Vec b) { v = _mm512_fmadd_ps(a.v, b.v, v); }
  void store(float* to) const { _mm512_storeu_ps(to, v); }
};

}  // namespace
}  // namespace dsa

#include "kernel.h"
#include "attend_kernel.h"
#include "lane_linear_kernel.h"
#include "add_offsets_kernel.h"
#include "dispatch.h"

namespace dsa {
extern const Kernels kernels_avx512 = {unit, rotate_unit, attend_unit, lane_unit, offsets_unit};
}  // namespace dsa
