// Every lane's rows by the lane's own matrix, `dsa::lane_linear`, on raw buffers.
// kernels/lane_linear.py is its reference and has the formula; this header is what bindings call.
#pragma once

#include <cstdint>

#include "gated_lowrank.h"

namespace dsa {

constexpr int64_t kLaneRows = 16;  // rows of a unit, all of one lane

// One call. L lanes of `rows` rows each, one lane after the other. Contiguous.
struct LaneLinear {
  int64_t lanes, rows, n_in, n_out;
  const float* x;       // (L · rows, n_in)
  const float* weight;  // (L, n_out, n_in)
  float* y;             // (L · rows, n_out)
};

// Null, or what is wrong with a call, in words that end with what to do.
const char* check(const LaneLinear& call);

// Run a call that `check` accepts. Returns false when this machine lacks the instruction set.
bool lane_linear(const LaneLinear& call, Pool pool, Isa isa = Isa::kBest);

}  // namespace dsa
