#include "objective.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration.h"

namespace dsa::learn {
namespace {

constexpr size_t kMostChoices = 32;  // of several sets together that have biases

// Cross-entropy of one example's biased scores (K,), and whether the right choice wins.
struct Scored {
  float loss, right;
};

Scored score(const float* scores, const float* bias, size_t count, size_t answer) {
  const auto biased = [&](size_t k) { return scores[k] + bias[k]; };
  float peak = biased(0), total = 0;
  size_t best = 0;
  bool lost = false;
  for (size_t k = 0; k < count; ++k) {
    lost = lost || std::isnan(biased(k));
    if (biased(k) > peak) peak = biased(k), best = k;
  }
  for (size_t k = 0; k < count; ++k) total += std::exp(biased(k) - peak);
  const float loss =
      lost ? std::numeric_limits<float>::quiet_NaN() : peak + std::log(total) - biased(answer);
  return {loss, best == answer && !std::isnan(loss) ? 1.0f : 0.0f};  // NaN is no right answer
}

}  // namespace

void Subspace::vector(const float* coordinates, size_t count, float* out) const {
  const size_t size = start.size();
  std::fill(out, out + size, 0.0f);
  for (size_t m = 0; m < count; ++m) {
    if (coordinates[m] == 0) continue;
    const float* direction = directions.data() + m * size;
    for (size_t i = 0; i < size; ++i) out[i] += coordinates[m] * direction[i];
  }
  for (size_t i = 0; i < size; ++i) out[i] = start[i] + out[i];
}

Objective::Objective(Engine& engine, const std::vector<Example>& examples, size_t size,
                     const Subspace* along, size_t active)
    : engine_(engine), lane_size_(size), active_(active), along_(along) {
  for (const Example& example : examples) {
    const auto& own = example.choices;
    all_choices = all_choices && !own.empty();
    const auto answer = std::find(own.begin(), own.end(), example.response);
    answers.push_back(own.empty() ? 0 : static_cast<uint32_t>(answer - own.begin()));
  }
  if (all_choices) gather(examples);
  bias.resize(choices.size()), own_.resize(choices.size());
}

// All choices in the order of their first, and where each set of them lies.
void Objective::gather(const std::vector<Example>& examples) {
  std::vector<std::string> words;
  for (const Example& example : examples) {
    const auto known = std::find_if(sets_.begin(), sets_.end(),
                                    [&](const Set& set) { return set.own == example.choices; });
    set_of_.push_back(static_cast<uint32_t>(known - sets_.begin()));
    if (known != sets_.end()) continue;
    sets_.push_back({example.choices, {}});
    for (const std::string& word : example.choices) {
      const auto at = std::find(words.begin(), words.end(), word);
      sets_.back().columns.push_back(static_cast<uint32_t>(at - words.begin()));
      if (at == words.end()) words.push_back(word);
    }
    if (sets_.size() > 1 && words.size() > kMostChoices) break;
  }
  if (sets_.size() > 1 && words.size() > kMostChoices) return sets_.clear();
  choices = std::move(words);
  for (size_t i = 0; i < answers.size(); ++i)
    answers[i] = sets_[set_of_[i]].columns[answers[i]];
}

Floats Objective::bias_of(const Adapter& adapter) const {
  Floats found(choices.size());
  for (const Set& set : sets_) {
    const Floats own = adapter.bias(set.own);
    for (size_t k = 0; k < own.size(); ++k) found[set.columns[k]] = own[k];
  }
  return found;
}

Floats Objective::pooled(const std::vector<uint32_t>& some) const {
  Floats all;
  for (const uint32_t at : some) all.insert(all.end(), pooled(at), pooled(at) + pooled_width());
  return all;
}

Lanes Objective::whole(Lanes lanes) {
  if (!along_) return lanes;
  const size_t size = along_->start.size();
  whole_.resize(lanes.count * size);
  for (size_t lane = 0; lane < lanes.count; ++lane)
    along_->vector(lanes.rows + lane * lane_size_, lane_size_, whole_.data() + lane * size);
  return {whole_.data(), lanes.count};
}

void Objective::losses(Some batch, Lanes lanes, float* losses, float* right) {
  if (choices.empty()) return engine_.probe(batch, whole(lanes), losses, right);
  scores_.resize(lanes.count * batch.count * choices.size());
  scores(batch, lanes, scores_.data());
  scored(batch, scores_.data(), lanes.count, losses, right);
}

void Objective::scores(Some batch, Lanes lanes, float* scores) {
  engine_.choose(batch, whole(lanes), choices.size(), scores);
  if (sets_.size() > 1) spread(batch, lanes.count, scores);
}

// Moves each example's own scores to where they are among all.
void Objective::spread(Some batch, size_t lanes, float* scores) {
  const size_t count = choices.size();
  for (size_t i = 0; i < lanes * batch.count; ++i, scores += count) {
    const Set& set = sets_[set_of_[batch.at[i % batch.count]]];
    std::copy(scores, scores + set.columns.size(), own_.begin());
    std::fill(scores, scores + count, kAbsent);
    for (size_t k = 0; k < set.columns.size(); ++k) scores[set.columns[k]] = own_[k];
  }
}

void Objective::scored(Some batch, const float* scores, size_t lanes, float* losses,
                       float* right) const {
  const size_t count = choices.size();
  for (size_t i = 0; i < lanes * batch.count; ++i) {
    const Scored found =
        score(scores + i * count, bias.data(), count, answers[batch.at[i % batch.count]]);
    losses[i] = found.loss;
    if (right) right[i] = found.right;
  }
}

}  // namespace dsa::learn
