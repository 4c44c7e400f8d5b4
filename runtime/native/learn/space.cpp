#include "space.h"

#include "errors.h"

namespace dsa::learn {

Space::Space(Floats begin, std::vector<Shape> slots, size_t count)
    : start(std::move(begin)), shapes(std::move(slots)), blocks(count) {
  if (shapes.empty()) shapes.push_back({start.size()});
  block.reserve(start.size());
  for (size_t slot = 0; slot < shapes.size(); ++slot)
    block.insert(block.end(), size_of(shapes[slot]), static_cast<uint32_t>(slot % blocks));
  if (block.size() != start.size())
    throw Broken(text("slots of ", block.size(), " numbers in an adapter of ", start.size()));
}

}  // namespace dsa::learn
