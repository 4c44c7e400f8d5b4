// The gated sparse op, `dsa::gated_lowrank`, on raw buffers. kernels/gated_lowrank.py is its
// reference and has the formula; this header is what all bindings call.
#pragma once

#include <cstdint>

namespace dsa {

constexpr int64_t kAbi = 5;        // raised whenever a struct or a function of the C interface changes
constexpr int64_t kMaxRank = 512;  // scratch of a tile lies on the stack

// One call. Axes: L lanes, B examples, T rows, N blocks, K chosen blocks, r rank, F factors: N, or 1
// where all blocks share them. Row-major.
// Strides count elements; the last axis of x, base and y is contiguous. y may be base.
struct GatedLowrank {
  int64_t lanes, batch, length, n_in, n_out, rank, blocks, factors, chosen;
  bool diagonal;          // core holds (L, N, r) numbers instead of (L, N, r, r)
  bool half;              // u and v are float16 instead of float32
  bool each;              // every lane has a core for each example: (L · B, N, …), not (L, N, …)
  const float* x;         // (L, B, T, n_in)
  int64_t x_strides[3];   // of L, B, T
  const float* base;      // (L, B, T, n_out)
  int64_t base_strides[3];
  const float* core;
  const int64_t* route_index;  // (B, K), each in 0 … N − 1; not read where N is 0
  const float* route_weight;   // (B, K)
  const void* u;               // (F, r, n_out)
  const void* v;               // (F, n_in, r)
  const uint8_t* active;       // (B, T), 0 or 1
  float* y;                    // (L, B, T, n_out), contiguous
};

// How an engine runs independent units on its threads; a null `run` means one after the other.
struct Pool {
  void (*run)(void* engine, int64_t units, void (*unit)(void* task, int64_t index), void* task);
  void* engine;
};

enum class Isa { kBest, kBaseline, kAvx2, kAvx512, kNeon };

// Null, or what is wrong with a call, in words that end with what to do.
const char* check(const GatedLowrank& call);

// Run a call that `check` accepts. Returns false when this machine lacks the instruction set.
bool gated_lowrank(const GatedLowrank& call, Pool pool, Isa isa = Isa::kBest);

// The instruction set that kBest stands for on this machine: "avx512", "avx2", "neon", "baseline".
const char* best_isa();

}  // namespace dsa
