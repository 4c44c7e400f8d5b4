#include "pcg.h"

#include "wide.h"

namespace dsa::learn {
namespace {

// numpy's SeedSequence, of a pool of four words.
class Seeds {
 public:
  explicit Seeds(uint64_t seed) {
    const uint32_t given[4] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    for (int i = 0; i < 4; ++i) pool_[i] = mixed_in(given[i]);
    for (int from = 0; from < 4; ++from)
      for (int to = 0; to < 4; ++to)
        if (from != to) pool_[to] = mixed(pool_[to], mixed_in(pool_[from]));
  }

  // Words one after the other.
  uint64_t word() {
    const uint64_t low = half();
    return low | static_cast<uint64_t>(half()) << 32;
  }

 private:
  static uint32_t folded(uint32_t value) { return value ^ value >> 16; }
  static uint32_t mixed(uint32_t a, uint32_t b) {
    return folded(0xca01f9ddu * a - 0x4973f715u * b);
  }
  uint32_t mixed_in(uint32_t value) {
    value ^= hash_;
    hash_ *= 0x931e8875u;
    return folded(value * hash_);
  }
  uint32_t half() {
    const uint32_t value = pool_[next_++ % 4] ^ out_;
    out_ *= 0x58f38dedu;
    return folded(value * out_);
  }

  uint32_t pool_[4], hash_ = 0x43b0d7e5u, out_ = 0x8b51f9ddu;
  unsigned next_ = 0;
};

}  // namespace

Pcg::Pcg(uint64_t seed) {
  Seeds seeds(seed);
  const Wide start{seeds.word(), seeds.word()}, stream{seeds.word(), seeds.word()};
  increment_ = {stream.high << 1 | stream.low >> 63, stream.low << 1 | 1};
  step();
  state_.low += start.low;
  state_.high += start.high + (state_.low < start.low);
  step();
}

void Pcg::step() {
  constexpr uint64_t kHigh = 2549297995355413924u, kLow = 4865540595714422341u;
  const Product product = multiply(state_.low, kLow);
  const uint64_t low = product.low + increment_.low;
  state_.high = product.high + state_.high * kLow + state_.low * kHigh + increment_.high +
                (low < increment_.low);
  state_.low = low;
}

uint64_t Pcg::word() {
  step();
  const uint64_t folded = state_.high ^ state_.low;
  const unsigned by = static_cast<unsigned>(state_.high >> 58);
  return folded >> by | folded << (-by & 63);
}

uint32_t Pcg::half() {
  has_left_ = !has_left_;
  if (!has_left_) return left_;
  const uint64_t both = word();
  left_ = static_cast<uint32_t>(both >> 32);
  return static_cast<uint32_t>(both);
}

double Pcg::uniform() { return static_cast<double>(word() >> 11) / 9007199254740992.0; }

size_t Pcg::below(size_t count) {
  const uint32_t most = static_cast<uint32_t>(count);
  if (most < 2) return 0;
  uint64_t product = static_cast<uint64_t>(half()) * most;
  const uint32_t refused = (0u - most) % most;
  while (static_cast<uint32_t>(product) < refused) product = static_cast<uint64_t>(half()) * most;
  return static_cast<size_t>(product >> 32);
}

}  // namespace dsa::learn
