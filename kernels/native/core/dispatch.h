// Which instruction sets this machine has, and the units of work compiled for each.
#pragma once

#include <cstdint>

#include "gated_lowrank.h"

namespace dsa {

using UnitFunction = void (*)(void* task, int64_t index);

struct Kernels {
  UnitFunction gated_lowrank, rotate, attend, lane_linear, add_offsets;
};

// Null when this machine lacks the instruction set.
const Kernels* kernels_of(Isa isa);

// All units, on the engine's threads where it has some.
void run_units(Pool pool, int64_t units, UnitFunction unit, const void* task);

}  // namespace dsa
