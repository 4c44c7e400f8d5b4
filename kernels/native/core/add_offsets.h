// The affine part of a quantized product, `dsa::add_offsets`, on raw buffers. kernels/add_offsets.py
// is its reference and has the formula; this header is what the binding calls.
#pragma once

#include <cstdint>

#include "gated_lowrank.h"

namespace dsa {

constexpr int64_t kGroup = 32;          // inputs that share an offset
constexpr int64_t kOffsetRows = 24;     // of a unit, a multiple of every tile
constexpr int64_t kOffsetCols = 512;    // of a unit, a multiple of every tile

// One call; contiguous. y may be base.
struct AddOffsets {
  int64_t rows, groups, n_out;
  const float* x;           // (rows, groups · 32)
  const float* base;        // (rows, n_out)
  const uint16_t* offsets;  // (groups, n_out) float16
  float* y;                 // (rows, n_out)
};

// Null, or what is wrong with a call, in words that end with what to do.
const char* check(const AddOffsets& call);

// Run a call that `check` accepts. Returns false when this machine lacks the instruction set.
bool add_offsets(const AddOffsets& call, Pool pool, Isa isa = Isa::kBest);

}  // namespace dsa
