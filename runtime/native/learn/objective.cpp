#include "objective.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dsa::learn {
namespace {

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
  bool shared = true;
  for (const Example& example : examples) {
    const auto& own = example.choices;
    shared = shared && own == examples[0].choices;
    all_choices = all_choices && !own.empty();
    const auto answer = std::find(own.begin(), own.end(), example.response);
    answers.push_back(own.empty() ? 0 : static_cast<uint32_t>(answer - own.begin()));
  }
  if (shared) choices = examples[0].choices;
  bias.resize(choices.size());
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
  engine_.choose(batch, whole(lanes), scores);
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
