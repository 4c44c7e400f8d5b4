#include "attend_cache.h"

#include "half.h"

namespace dsa {
namespace {

// (B, T, G, d) → (B, G, T, d), as caches keep it.
void keep(const Attend& sizes, const float* from, uint16_t* to) {
  const int64_t length = sizes.length, groups = sizes.kv_heads, dim = sizes.dim;
  for (int64_t b = 0; b < sizes.batch; ++b)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t t = 0; t < length; ++t) {
        const float* row = from + ((b * length + t) * groups + g) * dim;
        for (int64_t i = 0; i < dim; ++i) *to++ = to_half(row[i]);
      }
}

}  // namespace

const char* check(const AttendCache& call) {
  if (call.attend.lanes != 1) return "generation has one lane: pass one row of each example.";
  if (call.layer < 0 || call.layer >= call.layers)
    return "the layer is not within the cache: export the bundle again.";
  return check(call.attend);
}

bool attend_cache(const AttendCache& call, Pool pool, Isa isa) {
  Attend layer = call.attend;
  const int64_t prefix = layer.kv_heads * layer.prefix * layer.dim * call.layer;
  const int64_t past = layer.batch * layer.kv_heads * layer.past * layer.dim * call.layer;
  layer.prefix_keys += prefix, layer.prefix_values += prefix;
  layer.keys += past, layer.values += past;
  if (!attend(layer, pool, isa)) return false;
  keep(layer, layer.new_keys, call.new_keys);
  keep(layer, layer.v, call.new_values);
  return true;
}

}  // namespace dsa
