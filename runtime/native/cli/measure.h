// What `dsa-edge bench` asks a device: raw seconds of each kind of work, or peak memory. No user's
// text is needed: tokens are random, and the store lies in memory (runtime/bench/, docs/bench.md).
#pragma once

#include "core/json.h"
#include "engine/arrays.h"

namespace dsa_cli {

// warmup, repeats: runs of each kind before those that count, and that count. threads: 0 for all.
struct BenchSettings {
  int64_t prompt_tokens = 128, new_tokens = 32, lanes = 16, batch = 16, warmup = 2, repeats = 7,
          threads = 0;
  std::string backend = "auto";

  // Raises WrongUse for numbers that nothing could be measured with.
  void check() const;
};

// The answer of a pass, `time` or `memory`. Raises what opening and running a bundle raises, and
// WrongUse for more tokens than the base has positions.
dsa::Json measured(const std::string& bundle, bool memory, const BenchSettings& settings);

}  // namespace dsa_cli
