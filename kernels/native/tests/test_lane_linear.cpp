// Every instruction set of this machine against plain loops, over shapes that stress the edges.
#include <cmath>
#include <cstdio>
#include <vector>

#include "../core/lane_linear.h"
#include "cases.h"

namespace {

struct Case {
  int64_t lanes, rows, n_in, n_out;
};

int run(const Case& c, dsa::Isa isa, const char* name) {
  const std::vector<float> x = randoms(c.lanes * c.rows * c.n_in);
  const std::vector<float> weight = randoms(c.lanes * c.n_out * c.n_in);
  std::vector<float> y(c.lanes * c.rows * c.n_out);
  const dsa::LaneLinear call{c.lanes, c.rows, c.n_in, c.n_out, x.data(), weight.data(), y.data()};
  if (dsa::check(call)) return std::printf("%s: refused\n", name);
  if (!dsa::lane_linear(call, {}, isa)) return 0;
  for (int64_t row = 0; row < c.lanes * c.rows; ++row)
    for (int64_t o = 0; o < c.n_out; ++o) {
      double expected = 0;
      const float* own = weight.data() + (row / c.rows * c.n_out + o) * c.n_in;
      for (int64_t i = 0; i < c.n_in; ++i) expected += double{x[row * c.n_in + i]} * own[i];
      if (!(std::fabs(y[row * c.n_out + o] - expected) < 1e-4 * (1 + std::fabs(expected))))
        return std::printf("%s: row %d of %d lanes is off\n", name, int(row), int(c.lanes));
    }
  return 0;
}

const Case cases[] = {
    {1, 1, 1, 1}, {3, 5, 7, 9},  {2, 17, 33, 4}, {32, 3, 576, 8},
    {4, 16, 8, 40}, {2, 40, 64, 1}, {0, 3, 4, 5},   {2, 0, 4, 5},
};

}  // namespace

int main() { return run_all(cases, run); }
