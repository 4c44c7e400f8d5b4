#include "private_course.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "errors.h"

namespace dsa::learn {
namespace {

constexpr int kHeldOutOneIn = 8;     // examples
constexpr size_t kLeastHeldOut = 4;  // with fewer, a noised verdict says nothing

[[noreturn]] void refuse(const std::string& what) { throw Error(Kind::privacy, what); }

void check_whole(const std::vector<Run>& earlier) {
  std::string damaged;
  for (const Run& run : earlier)
    if (run.damaged()) damaged += (damaged.empty() ? "" : ", ") + std::to_string(run.id);
  if (!damaged.empty())
    refuse(text("fit ", damaged,
                " of this store is damaged, so what it spent is not known: restore the store from "
                "a backup, or `forget` and begin again."));
}

void check_delta(double delta, size_t examples) {
  if (delta < 1 / static_cast<double>(examples)) return;
  char less[32];
  std::snprintf(less, sizeof less, "%.0e", 0.1 / static_cast<double>(examples));
  refuse(text("delta is ", delta, " for ", examples,
              " examples, expected less than 1 / examples: take ", less, " or less."));
}

void check_new(const std::vector<std::string>& ids, const std::vector<Run>& earlier) {
  std::set<std::string> open, known;
  for (const Run& run : earlier)
    if (run.privacy == "null") open.insert(run.examples.begin(), run.examples.end());
  for (const std::string& id : ids)
    if (open.count(id)) known.insert(id);
  if (!known.empty())
    refuse(text(known.size(),
                " of these examples were learned from without privacy before: `forget` those fits "
                "first, or use another store."));
}

Split split_by(const std::vector<std::string>& ids) {
  Split split;
  for (uint32_t i = 0; i < ids.size(); ++i)  // the last hex digit is the id modulo 16
    (std::stoi(ids[i].substr(ids[i].size() - 1), nullptr, 16) % kHeldOutOneIn ? split.train
                                                                              : split.held_out)
        .push_back(i);
  if (split.held_out.size() < kLeastHeldOut)
    refuse(text(ids.size(),
                " examples are too few to learn from with a guarantee: give some hundreds, or at "
                "least ",
                4 * kLeastHeldOut * kHeldOutOneIn, "."));
  return split;
}

}  // namespace

PrivateCourse::PrivateCourse(const std::vector<std::string>& ids, const Hyperparameters& hyper,
                             const Privacy& privacy, int64_t steps, const std::vector<Run>& earlier)
    : privacy_(privacy), hyper_(hyper) {
  check_covered(hyper);
  check_whole(earlier), check_delta(privacy.delta, ids.size()), check_new(ids, earlier);
  split_ = split_by(ids);
  hyper_.batch = std::min(privacy.batch, static_cast<int64_t>(split_.train.size()));
  hyper_.slopes = "batch";  // an example's are clipped as one vector, whichever blocks serve it
  share_ = static_cast<double>(hyper_.batch) / static_cast<double>(split_.train.size());
  for (const Run& run : earlier)
    if (run.privacy != "null") before_.push_back(Spent::read(run.privacy));
  noise_ = noise_for(privacy, share_, steps, before_);
  verdict_ = privacy.epsilon - of_verdicts(before_);
}

Spent PrivateCourse::spent(int64_t steps) const {
  std::vector<Spent> all = before_;
  all.push_back({noise_, share_, steps, verdict_, 0, privacy_.delta});
  all.back().epsilon = learn::spent(all, privacy_.delta);
  return all.back();
}

}  // namespace dsa::learn
