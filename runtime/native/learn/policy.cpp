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

// Adds worth times the gradient of log pi of an ordered route (k,) by scores (N,).
void add_log_gradient(Doubles left, const size_t* route, size_t active, double worth, double* out) {
  Doubles shares(left.size()), found(left.size());
  for (size_t at = 0; at < active; ++at) {
    softmax(left.data(), nullptr, left.size(), shares.data());
    for (size_t n = 0; n < left.size(); ++n) found[n] -= shares[n];
    found[route[at]] += 1;
    left[route[at]] = kNever;
  }
  for (size_t n = 0; n < left.size(); ++n) out[n] += worth * found[n];
}

double entropy_of(const double* shares, size_t blocks) {
  double entropy = 0;
  for (size_t n = 0; n < blocks; ++n) entropy -= shares[n] * std::log(std::max(shares[n], 1e-300));
  return entropy;
}

}  // namespace

void gate_scores(const Gate& gate, const float* pooled, double* out) {
  Doubles terms(gate.width);
  for (size_t block = 0; block < gate.blocks; ++block) {
    const float* row = gate.table.data() + block * (gate.width + 1);
    for (size_t i = 0; i < gate.width; ++i)
      terms[i] = static_cast<double>(pooled[i]) * static_cast<double>(row[i]);
    out[block] = sum(terms.data(), gate.width) + static_cast<double>(row[gate.width]);
  }
}

void ranked(const double* scores, size_t blocks, std::vector<size_t>& out) {
  out.resize(blocks);
  std::iota(out.begin(), out.end(), size_t{0});
  std::stable_sort(out.begin(), out.end(),
                   [scores](size_t a, size_t b) { return scores[a] > scores[b]; });
}

Doubles advantages(const Doubles& rewards, size_t draws) {
  const size_t batch = rewards.size() / draws;
  Doubles over(rewards.size());
  double square = 0, known = 0;
  for (size_t b = 0; b < batch; ++b) {
    double total = 0;
    for (size_t g = 0; g < draws; ++g) total += rewards[g * batch + b];
    if (!std::isfinite(total)) continue;
    for (size_t g = 0; g < draws; ++g) {
      const double centred = rewards[g * batch + b] - total / static_cast<double>(draws);
      const double own = centred * static_cast<double>(draws) / static_cast<double>(draws - 1);
      over[g * batch + b] = own, square += own * own, ++known;
    }
  }
  const double spread = known > 0 ? std::sqrt(square / known) : 0;
  for (double& each : over) each /= std::max(spread, kTiny);
  return over;
}

Doubles pull(const Doubles& scores, size_t blocks, const std::vector<size_t>& routes,
             const Doubles& worth, size_t draws) {
  const size_t batch = scores.size() / blocks, active = routes.size() / (draws * batch);
  Doubles shares(scores.size()), drawn(blocks), made(scores.size());
  double entropy = 0;
  for (size_t b = 0; b < batch; ++b) {
    softmax(&scores[b * blocks], nullptr, blocks, &shares[b * blocks]);
    entropy += entropy_of(&shares[b * blocks], blocks) / static_cast<double>(batch);
  }
  for (const size_t block : routes) drawn[block] += 1 / static_cast<double>(routes.size());
  const bool closed = entropy < kFloor * std::log(static_cast<double>(blocks));
  for (size_t b = 0; b < batch; ++b) {
    const double* own = &shares[b * blocks];
    Doubles earned(blocks);
    for (size_t g = 0; g < draws; ++g)
      add_log_gradient({&scores[b * blocks], &scores[b * blocks] + blocks},
                       &routes[(g * batch + b) * active], active,
                       worth[g * batch + b] / static_cast<double>(draws), earned.data());
    const double crowd = std::inner_product(own, own + blocks, drawn.begin(), 0.0);
    const double whole = entropy_of(own, blocks);
    for (size_t n = 0; n < blocks; ++n) {
      const double crowded = kBalance * static_cast<double>(blocks) * own[n] * (drawn[n] - crowd);
      const double raised = -own[n] * (std::log(std::max(own[n], 1e-300)) + whole);
      made[b * blocks + n] =
          (crowded - earned[n] - (closed ? kOpen * raised : 0)) / static_cast<double>(batch);
    }
  }
  return made;
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
