// Which examples are learned from when, and which are held out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dsa::learn {

using Indices = std::vector<uint32_t>;

struct Split {
  Indices train, held_out;  // rising; the same where there are too few to hold any out
};
Split hold_out(size_t count, uint64_t seed);

// Shuffled passes over the training examples; fewer than a batch are all used. Where there are
// choices, every stretch has each label's share.
class Batches {
 public:
  // answers: of all examples, or null without choices. Both must outlive this.
  Batches(const Indices& train, const std::vector<uint32_t>* answers, size_t batch, uint64_t seed);

  size_t size() const { return size_; }
  const uint32_t* next();  // (size,) indices of examples, valid until the next call

 private:
  void shuffle();
  void mix_labels();

  const Indices& train_;
  const std::vector<uint32_t>* answers_;
  const uint64_t seed_;
  size_t size_, at_ = 0;
  uint64_t epoch_ = 0;
  std::vector<uint64_t> keys_;
  Indices order_, shuffled_, sorted_;
  std::vector<double> place_;
  std::vector<size_t> seen_, total_;  // of each label
};

}  // namespace dsa::learn
