// Python's round(): to the nearest whole number, halves to the even one.
#pragma once

#include <cmath>
#include <cstdint>

namespace dsa::learn {

inline int64_t rounded(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

}  // namespace dsa::learn
