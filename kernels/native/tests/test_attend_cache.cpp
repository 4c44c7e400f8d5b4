// One layer of a cache of all against `attend` on that layer, on every instruction set.
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "../core/attend_cache.h"
#include "../core/half.h"
#include "cases.h"

namespace {

struct Case {
  int64_t layers, layer, batch, length, heads, kv_heads, dim, prefix, past;
};

std::vector<uint16_t> halves(int64_t count) {
  std::vector<uint16_t> made(count);
  for (uint16_t& half : made) half = dsa::to_half(random_value());
  return made;
}

int run(const Case& c, dsa::Isa isa, const char* name) {
  const int64_t rows = c.batch * c.length, own = c.kv_heads * c.dim;
  const std::vector<float> q = randoms(rows * c.heads * c.dim), k = randoms(rows * own);
  const std::vector<float> v = randoms(rows * own), angles = randoms(rows * c.dim);
  const std::vector<uint16_t> prefix = halves(c.layers * own * c.prefix);
  const std::vector<uint16_t> cache = halves(c.layers * c.batch * own * c.past);
  const std::vector<int64_t> lengths(c.batch, c.past);
  std::vector<float> y(q.size()), new_keys(k.size()), expected(q.size()), turned(k.size());
  std::vector<uint16_t> kept_keys(k.size()), kept_values(k.size());
  dsa::Attend whole{1, c.batch, c.length, c.heads, c.kv_heads, c.dim, c.dim, c.prefix, c.past,
                    0.3f, 0, 0, q.data(), k.data(), v.data(), angles.data(), angles.data(),
                    prefix.data(), prefix.data(), cache.data(), cache.data(), lengths.data(),
                    y.data(), new_keys.data()};
  const dsa::AttendCache call{whole, c.layers, c.layer, kept_keys.data(), kept_values.data()};
  if (const char* wrong = dsa::check(call)) return std::printf("refused: %s\n", wrong);
  if (!dsa::attend_cache(call, {}, isa)) return 0;  // not on this machine
  dsa::Attend one = whole;
  one.prefix_keys = one.prefix_values = prefix.data() + c.layer * own * c.prefix;
  one.keys = one.values = cache.data() + c.layer * c.batch * own * c.past;
  one.y = expected.data(), one.new_keys = turned.data();
  dsa::attend(one, {}, isa);
  if (y != expected) return std::printf("%s: another layer was read\n", name);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t g = 0; g < c.kv_heads; ++g)
      for (int64_t t = 0; t < c.length; ++t)
        for (int64_t i = 0; i < c.dim; ++i) {
          const int64_t from = ((b * c.length + t) * c.kv_heads + g) * c.dim + i;
          const int64_t to = ((b * c.kv_heads + g) * c.length + t) * c.dim + i;
          if (kept_keys[to] != dsa::to_half(turned[from]) || kept_values[to] != dsa::to_half(v[from]))
            return std::printf("%s: the cache would keep something else\n", name);
        }
  return 0;
}

// To the nearest, halves to even; numbers that float16 cannot hold.
int rounding() {
  const struct {
    float from;
    uint16_t to;
  } known[] = {{0, 0},          {-0.0f, 0x8000},     {1, 0x3c00},          {-2, 0xc000},
               {2049, 0x6800},  {2051, 0x6802},      {65504, 0x7bff},      {65519.9f, 0x7bff},
               {65520, 0x7c00}, {5.9604645e-8f, 1},  {2.9802322e-8f, 0},   {6.0975552e-5f, 0x03ff},
               {std::numeric_limits<float>::infinity(), 0x7c00}};
  int failed = 0;
  for (const auto& each : known)
    if (dsa::to_half(each.from) != each.to) failed += std::printf("%g is off\n", each.from) > 0;
  return failed;
}

const Case cases[] = {
    {1, 0, 1, 1, 1, 1, 2, 0, 0}, {3, 1, 2, 1, 6, 2, 16, 3, 40},
    {3, 2, 1, 5, 4, 4, 10, 0, 7}, {2, 0, 2, 21, 4, 2, 64, 5, 0},
};

}  // namespace

int main() { return run_all(cases, run) + rounding(); }
