// 4 lanes, part of every aarch64: no flags, no run-time test.
#include <arm_neon.h>

#include <cstdint>

namespace dsa {
namespace {

constexpr int kVectors = 4;  // a tile is 6 × 4 of the 32 registers, and 5 more are in flight
constexpr int kTile = 6;

struct Vec {
  static constexpr int kWidth = 4;
  float32x4_t v;
  static Vec load(const float* from) { return {vld1q_f32(from)}; }
  static Vec load(const uint16_t* from) {
    return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)))};
  }
  static Vec all(float value) { return {vdupq_n_f32(value)}; }
  void add(Vec other) { v = vaddq_f32(v, other.v); }
  void add_product(Vec a, Vec b) { v = vfmaq_f32(v, a.v, b.v); }
  void store(float* to) const { vst1q_f32(to, v); }
};

}  // namespace
}  // namespace dsa

#include "kernel.h"
#include "attend_kernel.h"
#include "lane_linear_kernel.h"
#include "add_offsets_kernel.h"
#include "dispatch.h"

namespace dsa {
extern const Kernels kernels_neon = {unit, rotate_unit, attend_unit, lane_unit, offsets_unit};
}  // namespace dsa
