// Offsets of groups for one instruction set: included by isa_*.cpp after attend_kernel.h, which has
// the products that this one is made of.
#include <cstring>

#include "add_offsets.h"

namespace dsa {
namespace {

constexpr int64_t kSums = 64;  // groups at a time: their sums lie on the stack

inline float group_sum(const float* x) {
  Vec sum = Vec::all(0);
  for (int64_t i = 0; i < kGroup; i += kW) sum.add(Vec::load(x + i));
  float each[kW];
  sum.store(each);
  for (int half = kW / 2; half; half /= 2)  // in pairs: no addition waits for the one before
    for (int i = 0; i < half; ++i) each[i] += each[i + half];
  return each[0];
}

void offsets_unit(void* task, int64_t index) {
  const AddOffsets& call = *static_cast<const AddOffsets*>(task);
  const int64_t parts = (call.n_out + kOffsetCols - 1) / kOffsetCols;
  const int64_t row = index / parts * kOffsetRows, column = index % parts * kOffsetCols;
  const int64_t rows = call.rows - row < kOffsetRows ? call.rows - row : kOffsetRows;
  const int64_t columns = call.n_out - column < kOffsetCols ? call.n_out - column : kOffsetCols;
  const int64_t whole = columns / kCols * kCols, at = row * call.n_out + column;
  if (call.y != call.base)
    for (int64_t m = 0; m < rows; ++m)
      std::memcpy(call.y + at + m * call.n_out, call.base + at + m * call.n_out,
                  columns * sizeof(float));
  for (int64_t first = 0; first < call.groups; first += kSums) {
    const int64_t some = call.groups - first < kSums ? call.groups - first : kSums;
    const Half* offsets = call.offsets + first * call.n_out + column;
    float sums[kOffsetRows * kSums];
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t g = 0; g < some; ++g)
        sums[m * kSums + g] = group_sum(call.x + ((row + m) * call.groups + first + g) * kGroup);
    add_products<kTile>(rows, sums, kSums, offsets, call.n_out, some, whole, call.y + at,
                        call.n_out);
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t o = whole; o < columns; ++o)
        for (int64_t g = 0; g < some; ++g)
          call.y[at + m * call.n_out + o] += sums[m * kSums + g] * to_float(offsets[g * call.n_out + o]);
  }
}

}  // namespace
}  // namespace dsa
