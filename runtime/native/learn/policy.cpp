#include "policy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "calibration.h"
#include "sums.h"

namespace dsa::learn {
namespace {

constexpr double kBalance = 1e-2;  // of the balance loss
constexpr double kFloor = 0.05;    // of log N: a mean entropy below it is raised
constexpr double kOpen = 0.1;      // weight of the entropy there
constexpr double kTiny = 1e-3;     // nats: rewards that differ less say nothing
constexpr int kHalvings = 60;
constexpr double kNever = -std::numeric_limits<double>::infinity();

double entropy_of(const double* shares, size_t blocks) {
  double entropy = 0;
  for (size_t n = 0; n < blocks; ++n) entropy -= shares[n] * std::log(std::max(shares[n], 1e-300));
  return entropy;
}

}  // namespace

void gate_scores(const Gate& gate, const float* pooled, Doubles& terms, double* out) {
  terms.resize(gate.width);
  for (size_t block = 0; block < gate.blocks; ++block) {
    const float* row = gate.table.data() + block * (gate.width + 1);
    for (size_t i = 0; i < gate.width; ++i)
      terms[i] = static_cast<double>(pooled[i]) * static_cast<double>(row[i]);
    out[block] = sum(terms.data(), gate.width) + static_cast<double>(row[gate.width]);
  }
}

void ranked(const double* scores, size_t blocks, std::vector<size_t>& out) {
  out.resize(blocks);
  for (size_t block = 0; block < blocks; ++block) {  // few; std::stable_sort would allocate
    size_t at = block;
    for (; at > 0 && scores[block] > scores[out[at - 1]]; --at) out[at] = out[at - 1];
    out[at] = block;
  }
}

const std::vector<size_t>& Ranking::of(const Gate& gate, const float* pooled) {
  scores_.resize(gate.blocks);
  gate_scores(gate, pooled, terms_, scores_.data());
  ranked(scores_.data(), gate.blocks, order_);
  return order_;
}

void centre_rewards(Doubles& rewards, size_t draws) {
  const size_t batch = rewards.size() / draws;
  double square = 0, known = 0;
  for (size_t b = 0; b < batch; ++b) {
    double total = 0;
    for (size_t g = 0; g < draws; ++g) total += rewards[g * batch + b];
    for (size_t g = 0; g < draws; ++g) {
      double& reward = rewards[g * batch + b];
      const double centred = reward - total / static_cast<double>(draws);
      const double own = centred * static_cast<double>(draws) / static_cast<double>(draws - 1);
      reward = std::isfinite(total) ? own : 0;
      if (std::isfinite(total)) square += own * own, ++known;
    }
  }
  const double spread = known > 0 ? std::sqrt(square / known) : 0;
  for (double& each : rewards) each /= std::max(spread, kTiny);
}

// Adds worth times the gradient of log pi of an ordered route (k,) by scores (N,) to `earned_`.
void Pull::earn(const double* scores, size_t blocks, const size_t* route, size_t active,
                double worth) {
  left_.assign(scores, scores + blocks);
  open_.resize(blocks), found_.assign(blocks, 0);
  for (size_t at = 0; at < active; ++at) {
    softmax(left_.data(), nullptr, blocks, open_.data());
    for (size_t n = 0; n < blocks; ++n) found_[n] -= open_[n];
    found_[route[at]] += 1;
    left_[route[at]] = kNever;
  }
  for (size_t n = 0; n < blocks; ++n) earned_[n] += worth * found_[n];
}

const Doubles& Pull::of(const Doubles& scores, size_t blocks, const std::vector<size_t>& routes,
                        const Doubles& worth, size_t draws) {
  const size_t batch = scores.size() / blocks, active = routes.size() / (draws * batch);
  shares_.resize(scores.size()), drawn_.assign(blocks, 0), made_.resize(scores.size());
  double entropy = 0;
  for (size_t b = 0; b < batch; ++b) {
    softmax(&scores[b * blocks], nullptr, blocks, &shares_[b * blocks]);
    entropy += entropy_of(&shares_[b * blocks], blocks) / static_cast<double>(batch);
  }
  for (const size_t block : routes) drawn_[block] += 1 / static_cast<double>(routes.size());
  const bool closed = entropy < kFloor * std::log(static_cast<double>(blocks));
  for (size_t b = 0; b < batch; ++b) {
    const double* own = &shares_[b * blocks];
    earned_.assign(blocks, 0);
    for (size_t g = 0; g < draws; ++g)
      earn(&scores[b * blocks], blocks, &routes[(g * batch + b) * active], active,
           worth[g * batch + b] / static_cast<double>(draws));
    const double crowd = std::inner_product(own, own + blocks, drawn_.begin(), 0.0);
    const double whole = entropy_of(own, blocks);
    for (size_t n = 0; n < blocks; ++n) {
      const double crowded = kBalance * static_cast<double>(blocks) * own[n] * (drawn_[n] - crowd);
      const double raised = -own[n] * (std::log(std::max(own[n], 1e-300)) + whole);
      made_[b * blocks + n] =
          (crowded - earned_[n] - (closed ? kOpen * raised : 0)) / static_cast<double>(batch);
    }
  }
  return made_;
}

double temperature(const Doubles& scores, size_t blocks, double sure) {
  const size_t examples = scores.size() / blocks;
  bool differ = false;
  for (size_t i = 0; i < scores.size(); ++i) differ = differ || scores[i] != scores[i - i % blocks];
  if (!differ) return 1;
  Doubles cooled(blocks), shares(blocks), likeliest(examples);
  double low = -30, high = 30;  // of the logarithm
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2, heat = std::exp(middle);
    for (size_t e = 0; e < examples; ++e) {
      for (size_t n = 0; n < blocks; ++n) cooled[n] = scores[e * blocks + n] / heat;
      softmax(cooled.data(), nullptr, blocks, shares.data());
      likeliest[e] = *std::max_element(shares.begin(), shares.end());
    }
    (mean(likeliest.data(), examples) > sure ? low : high) = middle;
  }
  return std::exp(low);
}

}  // namespace dsa::learn
