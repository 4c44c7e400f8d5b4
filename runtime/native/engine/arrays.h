// The arrays that the engine works on. L lanes, B examples, X shared prefix, P prompt, R response,
// D width, N all layers, A adapted ones, d head width. Row-major; caches are float16.
#pragma once

#include <cstdint>
#include <vector>

#include "native/core/half.h"

namespace dsa {

using Half = uint16_t;
using Halves = std::vector<Half>;
using Floats = std::vector<float>;
using Ints = std::vector<int64_t>;

// Keys and values (N, kv, X, d) of tokens that all prompts begin with; X may be 0.
// pooled: (D,) their mean hidden state at the split layer; empty for no tokens.
struct Prefix {
  int64_t length = 0;
  Halves keys, values;
  Floats pooled;
};

// What the base makes of prompts (B, P) and responses (B, R): hidden (B, R, D) at the split layer,
// keys and values (N, B, kv, P, d), pooled (B, D).
struct Prefilled {
  Floats hidden, pooled;
  Halves keys, values;
};

// The blocks that serve each example, (B, K), and what each counts; null takes the first.
struct Route {
  const int64_t* index = nullptr;
  const float* weight = nullptr;
};

// A batch of cached prompts, ready for probes. hidden (B, R, D); lengths (B,): tokens of each
// behind the prefix, `past` of the longest; most and most_rows: P and R of any that may come; kept
// (B,): each one's keys, then its values, (A, kv, own, d).
struct Context {
  const Prefix* prefix;
  int64_t batch, rows, past, most, most_rows;
  const float* hidden;
  const Half* const* kept;
  const int64_t* lengths;
  Route route;
};

}  // namespace dsa
