// Which gate a fit uses, and what it says of the routes (runtime/_routing.py).
#pragma once

#include <map>

#include "objective.h"

namespace dsa::learn {

// Whether each of N blocks serves each of E examples, (E, N), as the engine routes them now.
struct Routes {
  size_t blocks;
  std::vector<uint8_t> serves;

  Routes(Objective& objective, size_t blocks);

  std::vector<int64_t> served() const;  // how many each block serves

  // The first few examples that each block serves, by their places among those given. ids: of the
  // examples; places: by id.
  std::vector<std::vector<size_t>> examples(const std::vector<std::string>& ids,
                                            const std::map<std::string, size_t>& places) const;
};

// Whether blocks have collapsed into one, or are never chosen.
std::vector<std::string> notes_of_routes(const std::vector<int64_t>& served, size_t prompts);

}  // namespace dsa::learn
