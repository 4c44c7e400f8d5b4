// Products of 64-bit numbers.
#pragma once

#include <cstdint>

namespace dsa::learn {

struct Product {
  uint64_t high, low;
};

#ifdef __SIZEOF_INT128__
inline Product multiply(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return {static_cast<uint64_t>(product >> 64), static_cast<uint64_t>(product)};
}
#else  // 32-bit processors
inline Product multiply(uint64_t a, uint64_t b) {
  const uint64_t low = 0xffffffffu;
  const uint64_t aa = (a & low) * (b & low), ab = (a & low) * (b >> 32);
  const uint64_t ba = (a >> 32) * (b & low), bb = (a >> 32) * (b >> 32);
  const uint64_t middle = (aa >> 32) + (ab & low) + (ba & low);
  return {bb + (ab >> 32) + (ba >> 32) + (middle >> 32), (middle << 32) | (aa & low)};
}
#endif

}  // namespace dsa::learn
