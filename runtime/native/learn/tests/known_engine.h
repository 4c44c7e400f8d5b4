// An engine without a model: losses are a known function of the adapter, the same in
// tests/native/known_engine.py, so that fits here and there can be compared.
//
// An example's prompt is a number w, of which d_w (n,) are Gaussian numbers: the margin of a lane
// is 8 / n times the sum of theta_i d_wi over the numbers of the blocks that serve w, which is w
// mod N. Free responses are numbers y: the loss is (margin - y)^2. Choice k has the score margin (1
// - k) + 0.3 k.
#pragma once

#include <map>

#include "learn/engine.h"
#include "learn/random.h"
#include "learn/space.h"

namespace dsa::learn {

class KnownEngine : public Engine {
 public:
  explicit KnownEngine(const Space& space) : space_(space) {}

  size_t load(const std::vector<Example>& examples,
              const OnPrefill& on_prefill) override {
    words_.clear(), wanted_.clear(), choices_.clear();
    for (const Example& example : examples) {
      const uint32_t word = static_cast<uint32_t>(std::stoul(example.prompt));
      words_.push_back(word);
      wanted_.push_back(example.choices.empty() ? std::stod(example.response) : 0);
      choices_.push_back(example.choices.size());
      Floats& own = directions_[word];
      own.resize(space_.size());
      Stream stream(99, word, 0, Purpose::perturb);
      for (float& number : own) number = stream.gaussian();
      if (!on_prefill(1, 0)) break;
    }
    served_.resize(words_.size() * space_.blocks);
    return words_.size();
  }

  void probe(Some batch, Lanes lanes, float* losses, float* right) override {
    for (size_t lane = 0; lane < lanes.count; ++lane)
      for (size_t b = 0; b < batch.count; ++b) {
        const double apart = margin(lanes, lane, batch.at[b]) - wanted_[batch.at[b]];
        *losses++ = static_cast<float>(apart * apart);
        if (right) *right++ = __builtin_nanf("");
      }
  }

  void choose(Some batch, Lanes lanes, size_t width, float* scores) override {
    for (size_t lane = 0; lane < lanes.count; ++lane)
      for (size_t b = 0; b < batch.count; ++b, scores += width) {
        const double m = margin(lanes, lane, batch.at[b]);
        for (size_t k = 0; k < choices_[batch.at[b]]; ++k)
          scores[k] = static_cast<float>(m * (1.0 - double(k)) + 0.3 * double(k));
      }
  }

  int64_t tokens(Some batch) const override { return static_cast<int64_t>(batch.count); }

  const uint8_t* served(Some batch) override {
    if (space_.blocks == 1) return nullptr;
    for (size_t b = 0; b < batch.count; ++b)
      for (size_t n = 0; n < space_.blocks; ++n)
        served_[b * space_.blocks + n] = words_[batch.at[b]] % space_.blocks == n;
    return served_.data();
  }

 private:
  double margin(Lanes lanes, size_t lane, uint32_t example) const {
    const float* theta = lanes.rows + lane * space_.size();
    const uint32_t word = words_[example];
    const Floats& own = directions_.find(word)->second;
    double total = 0;
    for (size_t i = 0; i < space_.size(); ++i)
      if (space_.block[i] == word % space_.blocks) total += double(theta[i]) * double(own[i]);
    return total * 8 / static_cast<double>(space_.size());
  }

  const Space& space_;
  std::vector<uint32_t> words_;
  std::vector<size_t> choices_;
  std::vector<double> wanted_;
  std::map<uint32_t, Floats> directions_;
  std::vector<uint8_t> served_;
};

}  // namespace dsa::learn
