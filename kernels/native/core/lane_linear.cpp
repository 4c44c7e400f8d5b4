#include "lane_linear.h"

#include "dispatch.h"

namespace dsa {

const char* check(const LaneLinear& call) {
  if ((call.lanes | call.rows | call.n_in | call.n_out) < 0)
    return "a size is negative: the inputs' shapes do not belong together.";
  return nullptr;
}

bool lane_linear(const LaneLinear& call, Pool pool, Isa isa) {
  const Kernels* kernels = kernels_of(isa);
  const int64_t each = (call.rows + kLaneRows - 1) / kLaneRows;
  if (kernels) run_units(pool, call.lanes * each, kernels->lane_linear, &call);
  return kernels;
}

}  // namespace dsa
