#include "attend.h"

#include "dispatch.h"

namespace dsa {

const char* check(const Attend& call) {
  const int64_t any_negative = call.lanes | call.batch | call.length | call.prefix | call.past |
                               call.window;
  if (any_negative < 0) return "a size is negative: the inputs' shapes do not belong together.";
  if (call.kv_heads < 1 || call.heads < 1 || call.heads % call.kv_heads)
    return "the heads are no multiple of the heads of keys: export the bundle anew.";
  if (call.dim < 1 || call.dim > kMaxHeadDim || call.rotated > call.dim || call.rotated % 2)
    return "a head is wider than 512, or its rotated part odd or wider than itself: use the ONNX "
           "backend for this model.";
  for (int64_t b = 0; b < call.batch; ++b)
    if (call.lengths[b] < 0 || call.lengths[b] > call.past)
      return "a length is not within its cache: pass the lengths that belong to it.";
  return nullptr;
}

bool attend(const Attend& call, Pool pool, Isa isa) {
  const Kernels* kernels = kernels_of(isa);
  if (!kernels) return false;
  run_units(pool, call.lanes * call.batch, kernels->rotate, &call);
  const int64_t rows = call.lanes * call.length * (call.heads / call.kv_heads);
  const int64_t parts = (rows + kAttendRows - 1) / kAttendRows;
  run_units(pool, call.batch * call.kv_heads * parts, kernels->attend, &call);
  return true;
}

}  // namespace dsa
