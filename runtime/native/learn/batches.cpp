#include "batches.h"

#include <algorithm>

#include "random.h"

namespace dsa::learn {
namespace {

constexpr double kHeldOutShare = 0.125;
constexpr size_t kHeldOutMost = 64;             // more would slow steps, not verdicts
constexpr uint64_t kSplit = uint64_t{1} << 32;  // an epoch number that no run reaches

}  // namespace

Split hold_out(size_t count, uint64_t seed) {
  const Indices shuffled = order(seed, kSplit, count);
  const size_t share = static_cast<size_t>(static_cast<double>(count) * kHeldOutShare);
  const size_t held = std::min(share, kHeldOutMost);
  const auto middle = shuffled.begin() + static_cast<std::ptrdiff_t>(held < 2 ? 0 : held);
  Split split{{middle, shuffled.end()}, {shuffled.begin(), middle}};
  if (held < 2) split.held_out = split.train;
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.held_out.begin(), split.held_out.end());
  return split;
}

Batches::Batches(const Indices& train, const std::vector<uint32_t>* answers, size_t batch,
                 uint64_t seed)
    : train_(train),
      answers_(answers),
      seed_(seed),
      size_(std::min(batch, train.size())),
      at_(train.size()),
      keys_(train.size()),
      order_(train.size()),
      shuffled_(train.size()),
      sorted_(train.size()),
      place_(train.size()) {
  if (!answers) return;
  const size_t labels = 1 + *std::max_element(answers->begin(), answers->end());
  seen_.resize(labels), total_.resize(labels);
}

const uint32_t* Batches::next() {
  if (at_ + size_ > train_.size()) shuffle();
  const uint32_t* batch = shuffled_.data() + at_;
  at_ += size_;
  return batch;
}

void Batches::shuffle() {
  write_order(seed_, epoch_++, keys_, order_);
  for (size_t i = 0; i < order_.size(); ++i) shuffled_[i] = train_[order_[i]];
  if (answers_) mix_labels();
  at_ = 0;
}

void Batches::mix_labels() {
  std::fill(seen_.begin(), seen_.end(), 0), std::fill(total_.begin(), total_.end(), 0);
  for (const uint32_t i : shuffled_) ++total_[(*answers_)[i]];
  for (size_t i = 0; i < shuffled_.size(); ++i) {
    const uint32_t answer = (*answers_)[shuffled_[i]];
    const double nth = static_cast<double>(seen_[answer]++);
    place_[i] = (nth + 0.5) / static_cast<double>(total_[answer]);
    order_[i] = static_cast<uint32_t>(i);
  }
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    return place_[a] != place_[b] ? place_[a] < place_[b] : a < b;
  });
  for (size_t i = 0; i < order_.size(); ++i) sorted_[i] = shuffled_[order_[i]];
  shuffled_.swap(sorted_);
}

}  // namespace dsa::learn
