// Generation: prompt into a cache with the base, then token by token with the adapter.
#pragma once

#include <functional>

#include "engine/prompts.h"
#include "learn/records.h"

namespace dsa {

// temperature 0 takes the likeliest token; top_p: share of probability mass kept; seed: of draws.
struct Sampling {
  double temperature = 0, top_p = 1;
  uint64_t seed = 0;
};

constexpr char kNotNumbers[] =
    "with the adapter in use the model's output is not a number: go back to an earlier version, or "
    "load another adapter.";

// Calls on_token until it returns false, one of the end tokens comes, or `most` are made.
void generate(DecoderEngine& engine, const Ints& prompt, const Ints& invocation,
              const float* adapter, const learn::Gate* gate, const Sampling& sampling, const Ints& ends,
              int64_t most, const Chunks& chunks, const std::function<bool(int64_t)>& on_token);

}  // namespace dsa
