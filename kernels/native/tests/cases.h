// What the tests share: seeded numbers, and every case on every instruction set of this machine.
#pragma once

#include <cstdint>
#include <cstdio>
#include <vector>

#include "../core/gated_lowrank.h"

namespace {

uint64_t state = 1;

inline float random_value() {  // -1 … 1
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return static_cast<float>(static_cast<int32_t>(state >> 32)) / 2147483648.0f;
}

inline std::vector<float> randoms(int64_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = random_value();
  return values;
}

// run(case, isa, name) is 0 where all is well; so is what this returns.
template <class Case, size_t kCount, class Run>
int run_all(const Case (&cases)[kCount], Run run) {
  const struct {
    dsa::Isa isa;
    const char* name;
  } sets[] = {{dsa::Isa::kBaseline, "baseline"},
              {dsa::Isa::kAvx2, "avx2"},
              {dsa::Isa::kAvx512, "avx512"},
              {dsa::Isa::kNeon, "neon"}};
  int failed = 0;
  for (const Case& shape : cases)
    for (const auto& set : sets) failed += run(shape, set.isa, set.name) != 0;
  std::printf("best instruction set: %s; %d failed\n", dsa::best_isa(), failed);
  return failed != 0;
}

}  // namespace
