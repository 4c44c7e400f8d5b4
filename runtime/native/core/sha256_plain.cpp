#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/sha256.h"

namespace dsa {

namespace {

// The first 32 bits of the fractional parts of roots of the first 64 primes (FIPS 180-4, 4.2.2).
struct Constants {
  uint32_t k[64], start[8];
  Constants() {
    int found = 0;
    for (int n = 2; found < 64; ++n) {
      bool prime = true;
      for (int d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
      if (!prime) continue;
      if (found < 8) start[found] = fraction(std::sqrt(static_cast<long double>(n)));
      k[found++] = fraction(std::cbrt(static_cast<long double>(n)));
    }
  }
  static uint32_t fraction(long double root) {
    return static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
  }
};

uint32_t turned(uint32_t x, int by) { return x >> by | x << (32 - by); }

}  // namespace

struct Sha256::State {
  uint32_t h[8];
  uint8_t block[64];
  uint64_t count = 0;

  static const Constants& constants() {
    static const Constants made;
    return made;
  }

  void compress() {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; ++i)
      w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 |
             uint32_t{block[4 * i + 2]} << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
             (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    std::memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; ++i) turn(v, constants().k[i] + w[i]);
    for (int i = 0; i < 8; ++i) h[i] += v[i];
  }

  static void turn(uint32_t* v, uint32_t word) {
    const uint32_t e = v[4], a = v[0];
    const uint32_t one = v[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                         ((e & v[5]) ^ (~e & v[6])) + word;
    const uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) +
                         ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    for (int i = 7; i > 0; --i) v[i] = v[i - 1];
    v[4] += one, v[0] = one + two;
  }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  std::memcpy(state_->h, State::constants().start, sizeof state_->h);
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, size_t count) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < count; ++i) {
    state_->block[state_->count++ % 64] = bytes[i];
    if (state_->count % 64 == 0) state_->compress();
  }
}

std::string Sha256::hex() {
  const uint64_t bits = 8 * state_->count;
  const uint8_t one = 0x80, zero = 0;
  add(&one, 1);
  while (state_->count % 64 != 56) add(&zero, 1);
  for (int i = 7; i >= 0; --i) {
    const auto byte = static_cast<uint8_t>(bits >> 8 * i);
    add(&byte, 1);
  }
  std::string out;
  for (const uint32_t word : state_->h)
    for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
  return out;
}

}  // namespace dsa
