#include "blake2b.h"

#include <algorithm>
#include <cstring>

namespace dsa::learn {
namespace {

constexpr size_t kBlock = 128;
constexpr uint64_t kStart[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};
constexpr uint8_t kOrder[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

uint64_t turned(uint64_t x, int by) { return x >> by | x << (64 - by); }

void mix(uint64_t& a, uint64_t& b, uint64_t& c, uint64_t& d, uint64_t x, uint64_t y) {
  a += b + x, d = turned(d ^ a, 32), c += d, b = turned(b ^ c, 24);
  a += b + y, d = turned(d ^ a, 16), c += d, b = turned(b ^ c, 63);
}

void compress(uint64_t (&h)[8], const uint8_t* block, uint64_t counted, bool last) {
  uint64_t m[16], v[16];
  for (int i = 0; i < 16; ++i) {
    m[i] = 0;
    for (int byte = 7; byte >= 0; --byte) m[i] = m[i] << 8 | block[8 * i + byte];
  }
  std::copy(h, h + 8, v), std::copy(kStart, kStart + 8, v + 8);
  v[12] ^= counted;
  if (last) v[14] = ~v[14];
  for (int round = 0; round < 12; ++round) {
    const uint8_t* s = kOrder[round % 10];
    for (int i = 0; i < 4; ++i)
      mix(v[i], v[4 + i], v[8 + i], v[12 + i], m[s[2 * i]], m[s[2 * i + 1]]);
    for (int i = 0; i < 4; ++i)
      mix(v[i], v[4 + (i + 1) % 4], v[8 + (i + 2) % 4], v[12 + (i + 3) % 4], m[s[8 + 2 * i]],
          m[s[9 + 2 * i]]);
  }
  for (int i = 0; i < 8; ++i) h[i] ^= v[i] ^ v[8 + i];
}

}  // namespace

void blake2b(const void* data, size_t count, const void* key, size_t key_size, uint8_t* digest,
             size_t size) {
  uint64_t h[8];
  std::copy(kStart, kStart + 8, h);
  h[0] ^= 0x01010000u ^ key_size << 8 ^ size;
  uint8_t block[kBlock] = {};
  uint64_t counted = 0;
  if (key_size) {
    std::memcpy(block, key, key_size);
    compress(h, block, counted = kBlock, count == 0);
  }
  const uint8_t* next = static_cast<const uint8_t*>(data);
  for (size_t left = count; left > 0 || counted == 0;) {
    const size_t part = std::min(left, kBlock);
    std::memset(block, 0, kBlock);
    if (part) std::memcpy(block, next, part);
    next += part, left -= part, counted += part;
    compress(h, block, counted, left == 0);
    if (left == 0) break;
  }
  for (size_t i = 0; i < size; ++i) digest[i] = static_cast<uint8_t>(h[i / 8] >> 8 * (i % 8));
}

}  // namespace dsa::learn
