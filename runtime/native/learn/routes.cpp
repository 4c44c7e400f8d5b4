#include "routes.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "clusters.h"
#include "errors.h"

namespace dsa::learn {
namespace {

constexpr size_t kShown = 5;        // examples of a block that a report names
constexpr double kUneven = 0.3;     // of the entropy that blocks serving alike would have
constexpr double kCollapsed = 0.9;  // of the prompts; more leaves other blocks nothing to learn

std::string note_of_idle(const std::vector<size_t>& idle) {
  std::string all;
  for (const size_t block : idle) all += (all.empty() ? "" : ", ") + std::to_string(block);
  return (idle.size() > 1 ? "blocks " + all + " serve" : "block " + all + " serves") +
         " none of the prompts and learned nothing";
}

}  // namespace

Routes::Routes(Objective& objective, size_t count) : blocks(count) {
  for (uint32_t i = 0; i < objective.size(); ++i) {
    const uint8_t* own = objective.served({&i, 1});
    serves.insert(serves.end(), own, own + blocks);
  }
}

std::vector<int64_t> Routes::served() const {
  std::vector<int64_t> counts(blocks);
  for (size_t i = 0; i < serves.size(); ++i) counts[i % blocks] += serves[i];
  return counts;
}

std::vector<std::vector<size_t>> Routes::examples(
    const std::vector<std::string>& ids, const std::map<std::string, size_t>& places) const {
  std::vector<std::vector<size_t>> found;
  for (size_t block = 0; block < blocks; ++block) {
    std::set<size_t> own;
    for (size_t i = 0; i < serves.size() / blocks; ++i) {
      const auto place = places.find(ids[i]);
      if (serves[i * blocks + block] && place != places.end()) own.insert(place->second);
    }
    found.emplace_back(own.begin(), own.end());
    if (own.size() > kShown) found.back().resize(kShown);
  }
  return found;
}

std::vector<std::string> notes_of_routes(const std::vector<int64_t>& served, size_t prompts) {
  std::vector<std::string> notes;
  std::vector<size_t> idle;
  for (size_t block = 0; block < served.size(); ++block)
    if (!served[block]) idle.push_back(block);
  const auto most = std::max_element(served.begin(), served.end());
  if (served.empty()) return notes;
  if (static_cast<double>(*most) > kCollapsed * static_cast<double>(prompts))
    notes.push_back(text("block ", most - served.begin(), " serves ", *most, " of ", prompts,
                         " prompts, so the gate has little to choose: give prompts that differ "
                         "more, or export with fewer --blocks"));
  else if (evenness(served) < kUneven)
    notes.push_back(text("routes have ", std::lrint(100 * evenness(served)),
                         "% of the entropy that they would have if blocks served alike, so few "
                         "blocks learn much: fewer --blocks would do"));
  if (!idle.empty()) notes.push_back(note_of_idle(idle));
  return notes;
}

}  // namespace dsa::learn
