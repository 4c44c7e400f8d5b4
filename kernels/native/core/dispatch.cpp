#include "dispatch.h"

#include <initializer_list>

namespace dsa {

extern const Kernels kernels_baseline;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif

namespace {

const Kernels* find(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return &kernels_baseline;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                     __builtin_cpu_supports("f16c")
                 ? &kernels_avx2
                 : nullptr;
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") ? &kernels_avx512 : nullptr;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return &kernels_neon;
#endif
    default:
      return nullptr;
  }
}

Isa find_best() {
  for (Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kNeon})
    if (find(isa)) return isa;
  return Isa::kBaseline;
}

Isa best() {
  static const Isa isa = find_best();
  return isa;
}

}  // namespace

const Kernels* kernels_of(Isa isa) { return find(isa == Isa::kBest ? best() : isa); }

void run_units(Pool pool, int64_t units, UnitFunction unit, const void* task) {
  void* given = const_cast<void*>(task);  // units only read it
  if (pool.run && units > 1) {
    pool.run(pool.engine, units, unit, given);
  } else {
    for (int64_t index = 0; index < units; ++index) unit(given, index);
  }
}

const char* best_isa() {
  switch (best()) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kNeon:
      return "neon";
    default:
      return "baseline";
  }
}

}  // namespace dsa
