#include "random.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "quantile.h"
#include "wide.h"

namespace dsa::learn {
namespace {

inline float flipped(float scalar, uint64_t bit) {
  uint32_t raw;
  std::memcpy(&raw, &scalar, sizeof raw);
  raw ^= static_cast<uint32_t>(bit) << 31;
  std::memcpy(&scalar, &raw, sizeof raw);
  return scalar;
}

void write_ranks(Stream stream, std::vector<uint64_t>& keys, std::vector<uint32_t>& out) {
  for (uint64_t& key : keys) key = stream.word();
  std::iota(out.begin(), out.end(), 0u);
  std::sort(out.begin(), out.end(),
            [&](uint32_t a, uint32_t b) { return keys[a] != keys[b] ? keys[a] < keys[b] : a < b; });
}

}  // namespace

Stream::Stream(uint64_t seed, uint64_t step, uint64_t query, Purpose purpose)
    : key_(seed), counter_{0, step, query, static_cast<uint64_t>(purpose)}, words_{} {}

void Stream::block() {
  ++counter_[0];
  uint64_t a = counter_[0], b = counter_[1], c = counter_[2], d = counter_[3];
  uint64_t k0 = key_, k1 = 0;
  for (int round = 0; round < 10; ++round) {
    const Product first = multiply(0xD2E7470EE14C6C93u, a),
                  second = multiply(0xCA5A826395121157u, c);
    a = second.high ^ b ^ k0, b = second.low;
    c = first.high ^ d ^ k1, d = first.low;
    k0 += 0x9E3779B97F4A7C15u, k1 += 0xBB67AE8584CAA73Bu;
  }
  words_[0] = a, words_[1] = b, words_[2] = c, words_[3] = d;
  used_ = 0;
}

uint64_t Stream::word() {
  if (used_ == 4) block();
  return words_[used_++];
}

uint32_t Stream::half() {
  if (!half_left_) pending_ = word();
  const uint32_t half = static_cast<uint32_t>(half_left_ ? pending_ >> 32 : pending_);
  half_left_ = !half_left_;
  return half;
}

double Stream::uniform() { return (half() + 0.5) / 4294967296.0; }

float Stream::gaussian() { return static_cast<float>(normal_quantile(uniform())); }

void add_signs(Stream stream, const float* scalars, const uint32_t* block, size_t size,
               float* sum) {
  for (size_t first = 0; first < size; first += 64) {
    const uint64_t bits = stream.word();
    const size_t count = std::min<size_t>(64, size - first);
    for (size_t i = 0; i < count; ++i)
      sum[first + i] += flipped(scalars[block ? block[first + i] : 0], bits >> i & 1);
  }
}

void signs(Stream stream, float scale, size_t size, float* out) {
  for (size_t first = 0; first < size; first += 64) {
    const uint64_t bits = stream.word();
    const size_t count = std::min<size_t>(64, size - first);
    for (size_t i = 0; i < count; ++i) out[first + i] = flipped(scale, bits >> i & 1);
  }
}

std::vector<uint32_t> order(uint64_t seed, uint64_t epoch, size_t count) {
  return ranks(Stream(seed, epoch, 0, Purpose::order), count);
}

void write_order(uint64_t seed, uint64_t epoch, std::vector<uint64_t>& keys,
                 std::vector<uint32_t>& out) {
  write_ranks(Stream(seed, epoch, 0, Purpose::order), keys, out);
}

std::vector<uint32_t> ranks(Stream stream, size_t count) {
  std::vector<uint64_t> keys(count);
  std::vector<uint32_t> indices(count);
  write_ranks(stream, keys, indices);
  return indices;
}

}  // namespace dsa::learn
