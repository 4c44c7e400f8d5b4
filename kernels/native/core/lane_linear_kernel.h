// The lanes' own products for one instruction set: isa_*.cpp define `Vec` and include this file.
// Each output is a sum over its row of the weight, which all rows of the unit share while it is at
// hand.
#include "lane_linear.h"

namespace dsa {
namespace {

inline float sum_of(const Vec& vec) {
  float each[Vec::kWidth];
  vec.store(each);
  float sum = 0;
  for (float value : each) sum += value;
  return sum;
}

inline float product(const float* x, const float* weight, int64_t count) {
  Vec sum = Vec::all(0), other = Vec::all(0);  // two, as one would wait for itself
  int64_t i = 0;
  for (; i + 2 * Vec::kWidth <= count; i += 2 * Vec::kWidth) {
    sum.add_product(Vec::load(x + i), Vec::load(weight + i));
    other.add_product(Vec::load(x + i + Vec::kWidth), Vec::load(weight + i + Vec::kWidth));
  }
  for (; i + Vec::kWidth <= count; i += Vec::kWidth)
    sum.add_product(Vec::load(x + i), Vec::load(weight + i));
  sum.add(other);
  float rest = 0;
  for (; i < count; ++i) rest += x[i] * weight[i];
  return sum_of(sum) + rest;
}

void lane_unit(void* task, int64_t index) {
  const LaneLinear& call = *static_cast<const LaneLinear*>(task);
  const int64_t each = (call.rows + kLaneRows - 1) / kLaneRows, lane = index / each;
  const int64_t start = index % each * kLaneRows;
  const int64_t end = start + kLaneRows < call.rows ? start + kLaneRows : call.rows;
  const float* weight = call.weight + lane * call.n_out * call.n_in;
  const float* x = call.x + lane * call.rows * call.n_in;
  float* y = call.y + lane * call.rows * call.n_out;
  for (int64_t o = 0; o < call.n_out; ++o)
    for (int64_t row = start; row < end; ++row)
      y[row * call.n_out + o] = product(x + row * call.n_in, weight + o * call.n_in, call.n_in);
}

}  // namespace
}  // namespace dsa
