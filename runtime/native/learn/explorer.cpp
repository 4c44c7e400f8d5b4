#include "explorer.h"

#include <algorithm>
#include <cmath>

#include "random.h"

namespace dsa::learn {
namespace {

double sure_of(const Hyperparameters& hyper) { return hyper.gate == "scratch" ? 0.5 : 0.75; }

void score(Objective& objective, const Gate& gate, const std::vector<uint32_t>& some,
           Doubles& terms, Doubles& scores) {
  scores.resize(some.size() * gate.blocks);
  for (size_t b = 0; b < some.size(); ++b)
    gate_scores(gate, objective.pooled(some[b]), terms, &scores[b * gate.blocks]);
}

}  // namespace

Explorer::Explorer(Objective& objective, const std::vector<uint32_t>& train, const Gate& gate,
                   const Hyperparameters& hyper, uint64_t seed)
    : objective_(objective),
      hyper_(hyper),
      seed_(seed),
      blocks_(gate.blocks),
      active_(objective.active()),
      draws_(static_cast<size_t>(hyper.draws)) {
  score(objective, gate, train, terms_, scores_);
  heat_ = temperature(scores_, blocks_, sure_of(hyper));
  const Doubles found = differences(objective.pooled(train), gate.width);
  std::vector<uint32_t> all(objective.size());
  for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  features_ = features(objective.pooled(all), found, gate.width);
  learned_.start = gate;
  for (const double each : found)  // so that amounts are per temperature
    learned_.directions.push_back(static_cast<float>(each * heat_));
  learned_.amounts.resize(blocks_ * kFeatures);
  drawn_.reserve(active_);  // of which the first step may have no use
}

const Gate& Explorer::gate() {
  learned_.write(now_);
  return now_;
}

void Explorer::draw(Some batch, uint64_t step) {
  batch_.assign(batch.at, batch.at + batch.count);
  score(objective_, gate(), batch_, terms_, scores_);
  for (double& score : scores_) score /= heat_;
  routes_.clear();
  keys_.resize(blocks_);
  for (size_t g = 0; g < draws_; ++g) {
    Stream stream(seed_, step, g, Purpose::route);
    for (size_t b = 0; b < batch.count; ++b) {
      for (size_t n = 0; n < blocks_; ++n)  // Gumbel noise
        keys_[n] = scores_[b * blocks_ + n] - std::log(-std::log(stream.uniform()));
      ranked(keys_.data(), blocks_, order_);
      routes_.insert(routes_.end(), order_.begin(),
                     order_.begin() + static_cast<std::ptrdiff_t>(active_));
    }
  }
  const size_t queries = static_cast<size_t>(hyper_.queries), each = batch.count * blocks_;
  served_.assign(queries * each, 0);
  for (size_t q = 0; q < queries; ++q)
    for (size_t i = 0; i < batch.count * active_; ++i)
      served_[q * each + i / active_ * blocks_ +
              routes_[q / (queries / draws_) * batch.count * active_ + i]] = 1;
}

size_t Explorer::route(size_t lane) {
  const size_t each = 2 * static_cast<size_t>(hyper_.queries) / draws_, group = lane / each;
  const size_t* first = &routes_[group * batch_.size() * active_];
  objective_.route_as({batch_.data(), batch_.size()}, first);
  return (group + 1) * each;
}

bool Explorer::usual(size_t example) {
  ranked(&scores_[example * blocks_], blocks_, order_);
  order_.resize(active_);
  std::sort(order_.begin(), order_.end());
  for (size_t g = 0; g < draws_; ++g) {
    const size_t* own = &routes_[(g * batch_.size() + example) * active_];
    drawn_.assign(own, own + active_);
    std::sort(drawn_.begin(), drawn_.end());
    if (drawn_ != order_) return false;
  }
  return true;
}

void Explorer::scalars(const float* losses, float* out) {
  const size_t batch = batch_.size(), lanes = 2 * static_cast<size_t>(hyper_.queries) / draws_;
  rewards_.resize(draws_ * batch);
  for (size_t g = 0; g < draws_; ++g)
    for (size_t b = 0; b < batch; ++b) {
      double total = 0;
      for (size_t lane = 0; lane < lanes; ++lane) total += losses[(g * lanes + lane) * batch + b];
      rewards_[g * batch + b] = -total / static_cast<double>(lanes);
    }
  centre_rewards(rewards_, draws_);
  const Doubles& by_score = pull_.of(scores_, blocks_, routes_, rewards_, draws_);
  for (size_t n = 0; n < blocks_; ++n)
    for (size_t f = 0; f < kFeatures; ++f) {
      double total = 0;
      for (size_t b = 0; b < batch; ++b)
        total += by_score[b * blocks_ + n] * features_[batch_[b] * kFeatures + f];
      *out++ = static_cast<float>(total);
    }
}

void Explorer::move(const float* gradient, float rate) {
  learned_.move(gradient, gate_pace(hyper_, rate));
}

}  // namespace dsa::learn
