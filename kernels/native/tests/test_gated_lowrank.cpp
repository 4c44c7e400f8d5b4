// Every instruction set of this machine against plain loops, over shapes that stress the edges.
// Runs anywhere: natively, under sanitizers, and under an emulator for other processors.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cases.h"

namespace {

struct Case {
  int64_t lanes, batch, length, n_in, n_out, rank, blocks, chosen;
  bool diagonal;
  bool each = false, shared = false;
};

// What the header's formula says, one row and one number at a time, in double precision.
std::vector<double> expected(const dsa::GatedLowrank& c, const float* u, const float* v) {
  std::vector<double> y;
  for (int64_t l = 0; l < c.lanes; ++l)
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t t = 0; t < c.length; ++t) {
        const float* x = c.x + l * c.x_strides[0] + b * c.x_strides[1] + t * c.x_strides[2];
        const float* base =
            c.base + l * c.base_strides[0] + b * c.base_strides[1] + t * c.base_strides[2];
        std::vector<double> row(base, base + c.n_out);
        for (int64_t k = 0; k < c.chosen && c.active[b * c.length + t]; ++k) {
          const int64_t i = c.route_index[b * c.chosen + k];
          const int64_t own = c.factors > 1 ? i : 0;
          std::vector<double> down(c.rank), mixed(c.rank);
          for (int64_t d = 0; d < c.rank; ++d)
            for (int64_t n = 0; n < c.n_in; ++n)
              down[d] += static_cast<double>(x[n]) * v[(own * c.n_in + n) * c.rank + d];
          for (int64_t r = 0; r < c.rank; ++r)
            for (int64_t d = 0; d < c.rank; ++d) {
              const int64_t core = c.each ? l * c.batch + b : l;
              const int64_t at = (core * c.blocks + i) * c.rank + r;
              const double weight = c.diagonal ? (r == d ? c.core[at] : 0.0)
                                               : static_cast<double>(c.core[at * c.rank + d]);
              mixed[r] += weight * down[d];
            }
          for (int64_t o = 0; o < c.n_out; ++o)
            for (int64_t r = 0; r < c.rank; ++r)
              row[o] += c.route_weight[b * c.chosen + k] * mixed[r] *
                        u[(own * c.rank + r) * c.n_out + o];
        }
        y.insert(y.end(), row.begin(), row.end());
      }
  return y;
}

// Heap buffers of the exact size: a sanitizer sees the first byte read or written beyond one.
int run(const Case& shape, dsa::Isa isa, const char* name) {
  const int64_t rows = shape.lanes * shape.batch * shape.length;
  const std::vector<float> x = randoms(rows * shape.n_in), base = randoms(rows * shape.n_out);
  const int64_t size = shape.diagonal ? shape.rank : shape.rank * shape.rank;
  const std::vector<float> core = randoms(
      shape.lanes * (shape.each ? shape.batch : 1) * shape.blocks * size);
  const int64_t factors = shape.shared ? 1 : shape.blocks;
  const std::vector<float> u = randoms(factors * shape.rank * shape.n_out);
  const std::vector<float> v = randoms(factors * shape.n_in * shape.rank);
  std::vector<int64_t> route(shape.batch * shape.chosen);
  for (size_t i = 0; i < route.size(); ++i) route[i] = (3 * i + i / 2) % shape.blocks;
  const std::vector<float> weight = randoms(shape.batch * shape.chosen);
  std::vector<uint8_t> active(shape.batch * shape.length);
  for (size_t i = 0; i < active.size(); ++i) active[i] = i % 5 != 3;
  std::vector<float> y(rows * shape.n_out);

  dsa::GatedLowrank call{};
  call.lanes = shape.lanes, call.batch = shape.batch, call.length = shape.length;
  call.n_in = shape.n_in, call.n_out = shape.n_out, call.rank = shape.rank;
  call.blocks = shape.blocks, call.chosen = shape.chosen, call.diagonal = shape.diagonal;
  call.each = shape.each, call.factors = factors;
  const int64_t strides[3] = {shape.batch * shape.length, shape.length, 1};
  for (int axis = 0; axis < 3; ++axis) {
    call.x_strides[axis] = strides[axis] * shape.n_in;
    call.base_strides[axis] = strides[axis] * shape.n_out;
  }
  call.x = x.data(), call.base = base.data(), call.core = core.data(), call.y = y.data();
  call.route_index = route.data(), call.route_weight = weight.data();
  call.u = u.data(), call.v = v.data(), call.active = active.data();

  if (const char* wrong = dsa::check(call)) {
    std::printf("refused: %s\n", wrong);
    return 1;
  }
  if (!dsa::gated_lowrank(call, {}, isa)) return 0;  // not on this machine
  const std::vector<double> wanted = expected(call, u.data(), v.data());
  double worst = 0;
  for (size_t i = 0; i < y.size(); ++i) worst = std::fmax(worst, std::fabs(y[i] - wanted[i]));
  // float32 sums of n_in and then r terms of size 1: rounding grows with their root.
  const double bound = 1e-6 * std::sqrt(static_cast<double>(shape.n_in)) * shape.rank + 1e-6;
  const bool good = worst <= bound;
  if (!good)
    std::printf("%s: %g above %g at L %d B %d T %d in %d out %d r %d N %d K %d\n", name, worst,
                bound, (int)shape.lanes, (int)shape.batch, (int)shape.length, (int)shape.n_in,
                (int)shape.n_out, (int)shape.rank, (int)shape.blocks, (int)shape.chosen);
  return !good;
}

}  // namespace

int main() {
  const Case cases[] = {
      {1, 1, 1, 1, 1, 1, 1, 1, false},   {1, 1, 1, 64, 64, 16, 1, 1, false},
      {4, 3, 2, 33, 47, 16, 1, 1, false}, {2, 5, 3, 40, 31, 5, 4, 2, false},
      {3, 7, 1, 64, 96, 24, 8, 2, false}, {2, 2, 2, 17, 19, 70, 2, 1, false},
      {2, 3, 4, 32, 48, 16, 3, 2, true},  {1, 60, 2, 16, 16, 4, 2, 1, false},
      {2, 2, 2, 16, 16, 8, 1, 0, false},  {0, 2, 2, 16, 16, 8, 1, 1, false},
      {5, 1, 0, 16, 16, 8, 1, 1, false},  {1, 2, 3, 31, 15, 33, 5, 3, true},
      {1, 40, 1, 64, 48, 16, 1, 1, false, true}, {2, 5, 3, 33, 47, 16, 4, 2, false, true},
      {2, 3, 2, 17, 19, 70, 2, 1, false, true},  {1, 7, 2, 32, 48, 16, 3, 2, true, true},
      {3, 7, 2, 64, 47, 16, 8, 2, false, false, true},
      {2, 3, 4, 32, 48, 16, 3, 2, true, false, true},
      {2, 3, 4, 32, 48, 16, 3, 2, false, true, true},
  };
  return run_all(cases, run);
}
