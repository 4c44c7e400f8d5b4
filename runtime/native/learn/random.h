// Counter-based randomness: the same numbers on every device, in any order.
//
// Philox4x64-10 (Salmon et al., SC'11) in numpy's convention: key = (seed, 0), counter =
// (0, step, query, purpose), incremented before each block of four words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dsa::learn {

enum class Purpose : uint64_t {  // they keep the streams apart
  perturb = 0,
  order = 1,
  round_probe = 2,
  round_back = 3,
  round_state = 4,
  subspace = 5,
  mask = 6,
  axes = 7,
  route = 8,
};

// One stream of 64-bit words.
class Stream {
 public:
  Stream(uint64_t seed, uint64_t step, uint64_t query, Purpose purpose);
  uint64_t word();
  uint32_t half();   // half words, the lower one first; not to be mixed with `word`
  double uniform();  // in (0, 1): (h + 1/2) / 2^32 of a half word h
  float gaussian();  // standard normal: the inverse distribution function of `uniform`

 private:
  void block();

  uint64_t key_, counter_[4], words_[4];
  int used_ = 4;
  uint64_t pending_ = 0;
  bool half_left_ = false;
};

// `sum[i] += scalar * z[i]` with the signs z of a query: bit 0 is +1, bit 1 is -1. To the bit
// what multiplying would give, for a sign only flips a float's sign bit.
// block: which of the scalars each number has, null where there is only one.
void add_signs(Stream stream, const float* scalars, const uint32_t* block, size_t size, float* sum);

// The signs themselves, times a scale.
void signs(Stream stream, float scale, size_t size, float* out);

// A permutation of `count` items, new in every epoch.
std::vector<uint32_t> order(uint64_t seed, uint64_t epoch, size_t count);

// The same into `out`, without allocating; keys: room for as many words.
void write_order(uint64_t seed, uint64_t epoch, std::vector<uint64_t>& keys,
                 std::vector<uint32_t>& out);

// Indices of the next `count` words of a stream, the smallest first, ties by index.
std::vector<uint32_t> ranks(Stream stream, size_t count);

}  // namespace dsa::learn
