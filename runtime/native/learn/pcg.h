// numpy's default generator, for what Python draws with it: the clusters of a gate.
//
// PCG64, XSL RR 128/64 (O'Neill 2014), from the seed sequence that numpy makes of a seed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsa::learn {

class Pcg {
 public:
  explicit Pcg(uint64_t seed);

  double uniform();            // in [0, 1)
  size_t below(size_t count);  // an integer in [0, count), count < 2^32 (Lemire 2019)

 private:
  struct Wide {
    uint64_t high, low;
  };
  void step();
  uint64_t word();
  uint32_t half();  // the lower half of a word, then the upper one

  Wide state_{0, 0}, increment_{0, 0};
  uint32_t left_ = 0;
  bool has_left_ = false;
};

}  // namespace dsa::learn
