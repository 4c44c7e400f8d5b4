// The directions in which prompts differ most.
#pragma once

#include <cstddef>
#include <vector>

#include "space.h"

namespace dsa::learn {

using Doubles = std::vector<double>;

constexpr size_t kDirections = 16;  // principal ones that prompts are compared in

// mean and scale (D,) of states; directions (count, D), unit rows, in that scale. Singular vectors
// have no sign of their own: the largest number of each is positive.
struct Principal {
  Doubles mean, scale, directions;
  size_t count;

  // states (E, D), row-major.
  Principal(const Doubles& states, size_t width);

  // (states - mean) * scale, (E, D).
  Doubles scaled(const Doubles& states) const;
};

// Rows (rows, width) become of length 1; those of zeros stay.
void make_unit(Doubles& rows, size_t width);

// a (A, width) times the transpose of b (B, width): (A, B), each a sum in numpy's order.
Doubles products(const Doubles& a, const Doubles& b, size_t width);

}  // namespace dsa::learn
