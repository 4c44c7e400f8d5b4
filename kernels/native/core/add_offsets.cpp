#include "add_offsets.h"

#include "dispatch.h"

namespace dsa {
namespace {

constexpr int64_t kWorthThreads = 1 << 14;  // products: less is done before a thread has woken up

}  // namespace

const char* check(const AddOffsets& call) {
  if ((call.rows | call.groups | call.n_out) < 0)
    return "a size is negative: the inputs' shapes do not belong together.";
  return nullptr;
}

bool add_offsets(const AddOffsets& call, Pool pool, Isa isa) {
  const Kernels* kernels = kernels_of(isa);
  if (!kernels) return false;
  const int64_t rows = (call.rows + kOffsetRows - 1) / kOffsetRows;
  const int64_t parts = (call.n_out + kOffsetCols - 1) / kOffsetCols;
  const bool much = call.rows * call.groups * call.n_out >= kWorthThreads;
  run_units(much ? pool : Pool{}, rows * parts, kernels->add_offsets, &call);
  return true;
}

}  // namespace dsa
