// Attention of lanes over shared caches, `dsa::attend`, on raw buffers. kernels/attend.py is its
// reference and has the formula; this header is what the bindings call.
#pragma once

#include <cstdint>

#include "gated_lowrank.h"

namespace dsa {

constexpr int64_t kMaxHeadDim = 512;  // scratch of a unit lies on the stack
constexpr int64_t kAttendRows = 48;   // rows of a unit, a multiple of every tile

// One call. Axes: L lanes, B examples, T new tokens, H heads, G heads of keys and values, d head
// width, X tokens of a prefix that all share, P cached tokens of each example. Contiguous.
struct Attend {
  int64_t lanes, batch, length, heads, kv_heads, dim, rotated, prefix, past;
  float scale;               // of the scores
  float softcap;             // 0: none
  int64_t window;            // tokens that a row sees, itself included; 0: all
  const float* q;            // (L, B, T, H, d), not yet rotated
  const float* k;            // (L, B, T, G, d), not yet rotated
  const float* v;            // (L, B, T, G, d)
  const float* cos;          // (B, T, rotated)
  const float* sin;          // (B, T, rotated)
  const uint16_t* prefix_keys;    // (G, X, d) float16, rotated
  const uint16_t* prefix_values;  // (G, X, d)
  const uint16_t* keys;           // (B, G, P, d), of which `lengths` are valid
  const uint16_t* values;         // (B, G, P, d)
  const int64_t* lengths;         // (B)
  float* y;                       // (L, B, T, H · d)
  float* new_keys;                // (L, B, T, G, d), rotated
};

// Null, or what is wrong with a call, in words that end with what to do.
const char* check(const Attend& call);

// Run a call that `check` accepts. Returns false when this machine lacks the instruction set.
bool attend(const Attend& call, Pool pool, Isa isa = Isa::kBest);

}  // namespace dsa
