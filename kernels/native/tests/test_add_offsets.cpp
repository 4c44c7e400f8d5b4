// Every instruction set of this machine against plain loops, over shapes that stress the edges.
#include <cmath>
#include <cstdio>
#include <vector>

#include "../core/add_offsets.h"
#include "cases.h"

namespace {

struct Case {
  int64_t rows, groups, n_out;
  bool in_place;
};

int run(const Case& c, dsa::Isa isa, const char* name) {
  const std::vector<float> x = randoms(c.rows * c.groups * dsa::kGroup);
  const std::vector<float> base = randoms(c.rows * c.n_out);
  std::vector<uint16_t> offsets(c.groups * c.n_out);
  for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = i % 2 ? 0x3800 : 0xbc00;  // 0.5, -1
  std::vector<float> y = c.in_place ? base : std::vector<float>(base.size());
  const dsa::AddOffsets call{c.rows, c.groups, c.n_out, x.data(),
                             c.in_place ? y.data() : base.data(), offsets.data(), y.data()};
  if (dsa::check(call)) return std::printf("%s: refused\n", name);
  if (!dsa::add_offsets(call, {}, isa)) return 0;
  for (int64_t row = 0; row < c.rows; ++row)
    for (int64_t o = 0; o < c.n_out; ++o) {
      double expected = base[row * c.n_out + o];
      for (int64_t g = 0; g < c.groups; ++g)
        for (int64_t i = 0; i < dsa::kGroup; ++i)
          expected += x[(row * c.groups + g) * dsa::kGroup + i] *
                      ((g * c.n_out + o) % 2 ? 0.5 : -1.0);
      if (!(std::fabs(y[row * c.n_out + o] - expected) < 1e-4 * (1 + std::fabs(expected))))
        return std::printf("%s: row %d of %d outputs is off\n", name, int(row), int(c.n_out));
    }
  return 0;
}

const Case cases[] = {
    {1, 1, 1, true},   {5, 3, 17, false}, {1, 70, 64, true},
    {30, 2, 48, true}, {2, 1, 1100, false}, {0, 2, 8, true},
};

}  // namespace

int main() { return run_all(cases, run); }
