// Where a run begins, and what its numbers are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dsa::learn {

using Floats = std::vector<float>;
using Shape = std::vector<size_t>;

inline size_t size_of(const Shape& shape) {
  size_t size = 1;
  for (const size_t side : shape) size *= side;
  return size;
}

// start: the adapter (n,) before the first step. shapes: of its slots, one after the other; none is
// one vector. blocks: of each target, N, whose slots take turns. block: of each number, (n,).
struct Space {
  Floats start;
  std::vector<Shape> shapes;
  size_t blocks;
  std::vector<uint32_t> block;

  Space(Floats begin, std::vector<Shape> slots, size_t count);
  size_t size() const { return start.size(); }
};

}  // namespace dsa::learn
