// Every instruction set of this machine against plain attention, over shapes that stress the edges.
#include <cmath>
#include <cstdio>
#include <vector>

#include "../core/attend.h"
#include "cases.h"

namespace {

// Halves whose values are exact, so that no conversion is needed to say what they are.
struct Halves {
  std::vector<uint16_t> bits;
  std::vector<float> values;
  explicit Halves(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int exponent = static_cast<int>(state >> 60) % 4;  // 2^-3 … 2^0
      random_value();
      const bool negative = state >> 63;
      bits.push_back(static_cast<uint16_t>((negative << 15) | ((12 + exponent) << 10)));
      values.push_back((negative ? -1.0f : 1.0f) * std::ldexp(1.0f, exponent - 3));
    }
  }
};

struct Case {
  int64_t lanes, batch, length, heads, kv_heads, dim, rotated, prefix, past, window;
  float softcap;
};

double turned(const float* x, const float* cos, const float* sin, int64_t rotated, int64_t i) {
  const int64_t half = rotated / 2;
  if (i >= rotated) return x[i];
  return i < half ? x[i] * cos[i] - x[i + half] * sin[i] : x[i] * cos[i] + x[i - half] * sin[i];
}

int run(const Case& c, dsa::Isa isa, const char* name) {
  const int64_t rows = c.lanes * c.batch * c.length;
  const std::vector<float> q = randoms(rows * c.heads * c.dim);
  const std::vector<float> k = randoms(rows * c.kv_heads * c.dim), v = randoms(k.size());
  const std::vector<float> cos = randoms(c.batch * c.length * c.rotated), sin = randoms(cos.size());
  const Halves prefix_keys(c.kv_heads * c.prefix * c.dim), prefix_values(prefix_keys.bits.size());
  const Halves keys(c.batch * c.kv_heads * c.past * c.dim), values(keys.bits.size());
  std::vector<int64_t> lengths(c.batch);
  for (int64_t b = 0; b < c.batch; ++b) lengths[b] = c.past ? c.past - b % (c.past + 1) : 0;
  std::vector<float> y(rows * c.heads * c.dim), new_keys(k.size());
  dsa::Attend call{c.lanes, c.batch, c.length, c.heads, c.kv_heads, c.dim, c.rotated, c.prefix,
                   c.past, 0.3f, c.softcap, c.window, q.data(), k.data(), v.data(), cos.data(),
                   sin.data(), prefix_keys.bits.data(), prefix_values.bits.data(),
                   keys.bits.data(), values.bits.data(), lengths.data(), y.data(), new_keys.data()};
  if (const char* wrong = dsa::check(call)) return std::printf("refused: %s\n", wrong);
  if (!dsa::attend(call, {}, isa)) return 0;  // not on this machine
  double worst = 0;
  for (int64_t l = 0; l < c.lanes; ++l)
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t t = 0; t < c.length; ++t)
        for (int64_t h = 0; h < c.heads; ++h) {
          const int64_t g = h / (c.heads / c.kv_heads);
          const auto own = [&](int64_t s) {
            return (((l * c.batch + b) * c.length + s) * c.kv_heads + g) * c.dim;
          };
          const int64_t row = ((l * c.batch + b) * c.length + t) * c.heads + h;
          const int64_t here = c.prefix + lengths[b] + t;
          std::vector<double> sum(c.dim);
          double total = 0;
          for (int64_t key = 0; key <= here; ++key) {
            if (c.window && here - key >= c.window) continue;
            const int64_t cached = key - c.prefix, fresh = cached - lengths[b];
            double score = 0;
            for (int64_t i = 0; i < c.dim; ++i) {
              const float* angle_cos = cos.data() + (b * c.length + t) * c.rotated;
              const float* angle_sin = sin.data() + (b * c.length + t) * c.rotated;
              const double query = turned(q.data() + row * c.dim, angle_cos, angle_sin, c.rotated, i);
              double other;
              if (cached < 0) {
                other = prefix_keys.values[(g * c.prefix + key) * c.dim + i];
              } else if (fresh < 0) {
                other = keys.values[((b * c.kv_heads + g) * c.past + cached) * c.dim + i];
              } else {
                const int64_t at = (b * c.length + fresh) * c.rotated;
                other = turned(k.data() + own(fresh), cos.data() + at, sin.data() + at, c.rotated, i);
              }
              score += 0.3 * query * other;
            }
            if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
            const double weight = std::exp(score);
            total += weight;
            for (int64_t i = 0; i < c.dim; ++i)
              sum[i] += weight * (cached < 0 ? prefix_values.values[(g * c.prefix + key) * c.dim + i]
                                  : fresh < 0
                                      ? values.values[((b * c.kv_heads + g) * c.past + cached) * c.dim + i]
                                      : v[own(fresh) + i]);
          }
          for (int64_t i = 0; i < c.dim; ++i)
            worst = std::fmax(worst, std::fabs(sum[i] / total - y[row * c.dim + i]));
        }
  const bool good = worst < 1e-4;  // float32 sums and exponentials
  if (!good) std::printf("%s: error %g at dim %d past %d\n", name, worst, (int)c.dim, (int)c.past);
  return !good;
}

}  // namespace

int main() {
  const Case cases[] = {
      {1, 1, 1, 1, 1, 2, 2, 0, 0, 0, 0},    {3, 2, 2, 6, 2, 16, 16, 5, 7, 0, 0},
      {1, 2, 1, 6, 2, 10, 4, 3, 70, 0, 0},  {9, 3, 1, 3, 1, 20, 8, 0, 33, 0, 0},  {1, 2, 37, 4, 4, 10, 6, 40, 0, 0, 2},
      {2, 2, 5, 4, 2, 64, 64, 3, 9, 4, 0},  {0, 1, 1, 2, 1, 8, 8, 0, 0, 0, 0},
  };
  return run_all(cases, run);
}
