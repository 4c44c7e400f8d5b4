// Attention over one layer of a cache of all, `dsa::attend_cache`, on raw buffers.
// kernels/attend_cache.py is its reference.
#pragma once

#include "attend.h"

namespace dsa {

// A call of `attend` for one lane whose caches hold `layers` layers, and which of them it reads.
// Its `new_keys` is scratch.
struct AttendCache {
  Attend attend;
  int64_t layers, layer;
  uint16_t* new_keys;    // (B, G, T, d) float16
  uint16_t* new_values;  // (B, G, T, d)
};

// Null, or what is wrong with a call, in words that end with what to do.
const char* check(const AttendCache& call);

// Run a call that `check` accepts. Returns false when this machine lacks the instruction set.
bool attend_cache(const AttendCache& call, Pool pool, Isa isa = Isa::kBest);

}  // namespace dsa
