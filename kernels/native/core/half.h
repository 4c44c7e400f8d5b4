// float16 as caches keep it.
#pragma once

#include <cstdint>
#include <cstring>

namespace dsa {

// To the nearest, halves to even, as numpy rounds (the method of Maratyszcza's FP16 library).
inline uint16_t to_half(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  const uint32_t twice = bits + bits, sign = bits & 0x80000000u;
  uint32_t bias = twice & 0xFF000000u;
  if (bias < 0x71000000u) bias = 0x71000000u;
  float base;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  std::memcpy(&base, &magnitude, sizeof base);
  base = base * 0x1.0p+112f * 0x1.0p-110f;
  float lift;
  const uint32_t lifted = (bias >> 1) + 0x07800000u;
  std::memcpy(&lift, &lifted, sizeof lift);
  base = lift + base;
  uint32_t made;
  std::memcpy(&made, &base, sizeof made);
  const uint32_t rounded = (made >> 13 & 0x7C00u) + (made & 0x0FFFu);
  return static_cast<uint16_t>(sign >> 16 | (twice > 0xFF000000u ? 0x7E00u : rounded));
}

}  // namespace dsa
