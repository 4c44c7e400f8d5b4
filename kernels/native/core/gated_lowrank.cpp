#include "gated_lowrank.h"

#include "dispatch.h"
#include "unit.h"

namespace dsa {
namespace {

bool routes_in_range(const GatedLowrank& call) {
  if (!call.blocks) return true;  // the route is not read
  for (int64_t i = 0; i < call.batch * call.chosen; ++i)
    if (call.route_index[i] < 0 || call.route_index[i] >= call.blocks) return false;
  return true;
}

}  // namespace

const char* check(const GatedLowrank& call) {
  const int64_t any_negative = call.lanes | call.batch | call.length | call.n_in | call.n_out |
                               call.rank | call.blocks | call.factors | call.chosen;
  if (any_negative < 0) return "a size is negative: the inputs' shapes do not belong together.";
  if (call.rank > kMaxRank) return "the rank is above 512: export the bundle with a lower --rank.";
  if (call.factors != call.blocks && call.factors != 1)
    return "the blocks neither share their factors nor have their own: export the bundle anew.";
  if (!routes_in_range(call))
    return "a route names a block that does not exist: use the gate that the bundle was exported "
           "with.";
  return nullptr;
}

bool gated_lowrank(const GatedLowrank& call, Pool pool, Isa isa) {
  const Kernels* kernels = kernels_of(isa);
  GatedLowrank known = call;
  if (!call.blocks) known.chosen = 0;
  if (kernels)
    run_units(pool, Unit::count(known), kernels->gated_lowrank, &known);
  return kernels;
}

}  // namespace dsa
