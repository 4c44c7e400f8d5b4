#include "clusters.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "pcg.h"
#include "sums.h"

namespace dsa::learn {
namespace {

constexpr int kStarts = 8;    // of k-means; the tightest clusters are kept
constexpr int kRounds = 100;  // of a start at most

Doubles doubles(const Floats& numbers) { return {numbers.begin(), numbers.end()}; }

// The gate of centres (N, p) in the directions.
Gate gate_of(const Doubles& centres, const Principal& of) {
  const size_t width = of.mean.size(), blocks = centres.size() / of.count;
  Gate gate{blocks, width, Floats(blocks * (width + 1)), {}};
  for (size_t n = 0; n < blocks; ++n) {
    double bias = 0;
    for (size_t i = 0; i < width; ++i) {
      double weight = 0;
      for (size_t k = 0; k < of.count; ++k)
        weight += centres[n * of.count + k] * of.directions[k * width + i];
      weight *= of.scale[i];
      bias += weight * of.mean[i];
      gate.table[n * (width + 1) + i] = static_cast<float>(weight);
    }
    gate.table[n * (width + 1) + width] = static_cast<float>(-bias);
  }
  return gate;
}

// Nearest centre (E,) of each point, and its cosine.
struct Nearest {
  std::vector<size_t> at;
  Doubles cosine;

  Nearest(const Doubles& points, const Doubles& centres, size_t width) {
    const Doubles all = products(points, centres, width);
    const auto count = static_cast<std::ptrdiff_t>(centres.size() / width);
    for (auto row = all.begin(); row != all.end(); row += count) {
      const auto best = std::max_element(row, row + count);
      at.push_back(static_cast<size_t>(best - row)), cosine.push_back(*best);
    }
  }
};

// Index of a point, drawn by shares, any of them where none has one.
size_t chosen(const Doubles& away, Pcg& random) {
  const double total = sum(away.data(), away.size());
  if (!(total > 0)) return random.below(away.size());
  Doubles reached;
  double so_far = 0;
  for (const double each : away) reached.push_back(so_far += each / total);
  for (double& each : reached) each /= so_far;
  const auto found = std::upper_bound(reached.begin(), reached.end(), random.uniform());
  return static_cast<size_t>(found - reached.begin());
}

// First centres: points drawn by their distance from those drawn before.
Doubles spread_out(const Doubles& points, size_t width, size_t clusters, Pcg& random) {
  Doubles centres;
  const auto take = [&](size_t point) {
    const auto first = points.begin() + static_cast<std::ptrdiff_t>(point * width);
    centres.insert(centres.end(), first, first + static_cast<std::ptrdiff_t>(width));
  };
  take(random.below(points.size() / width));
  while (centres.size() < clusters * width) {
    Doubles away = Nearest(points, centres, width).cosine;
    for (double& each : away) each = std::max(0.0, 1 - each);
    take(chosen(away, random));
  }
  return centres;
}

// Turns each centre to the mean of the points nearest to it, until none turns.
Doubles lloyd(const Doubles& points, Doubles centres, size_t width) {
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<size_t> nearest = Nearest(points, centres, width).at;
    Doubles turned(centres.size());
    for (size_t i = 0; i < points.size(); ++i)
      turned[nearest[i / width] * width + i % width] += points[i];
    make_unit(turned, width);
    for (size_t first = 0; first < turned.size(); first += width)
      if (std::all_of(&turned[first], &turned[first] + width, [](double x) { return x == 0; }))
        std::copy_n(&centres[first], width, &turned[first]);
    if (turned == centres) break;
    centres = turned;
  }
  return centres;
}

// Unit centres (N, p) of unit points (E, p), those of the largest clusters first.
Doubles k_means(const Doubles& points, size_t width, size_t clusters, Pcg random) {
  Doubles best;
  double tightest = 0;
  for (int start = 0; start < kStarts; ++start) {
    const Doubles found = lloyd(points, spread_out(points, width, clusters, random), width);
    const Doubles cosine = Nearest(points, found, width).cosine;
    const double tight = sum(cosine.data(), cosine.size());
    if (best.empty() || tight > tightest) best = found, tightest = tight;
  }
  std::vector<size_t> sizes(clusters), order(clusters);
  for (const size_t at : Nearest(points, best, width).at) ++sizes[at];
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  Doubles sorted;
  for (const size_t at : order)
    sorted.insert(sorted.end(), &best[at * width], &best[at * width] + width);
  return sorted;
}

}  // namespace

Gate clustered(const Floats& pooled, size_t width, size_t blocks, uint64_t seed) {
  const Doubles states = doubles(pooled);
  const Principal of(states, width);
  Doubles points = of.scaled(states);
  make_unit(points, width);
  points = products(points, of.directions, width);
  make_unit(points, of.count);
  return gate_of(k_means(points, of.count, blocks, Pcg(seed)), of);
}

Gate scattered(const Floats& pooled, size_t width, size_t blocks, uint64_t seed) {
  const Principal of(doubles(pooled), width);
  Pcg random(seed);
  Doubles lengths, centres;
  for (size_t i = 0; i < blocks * of.count; ++i) lengths.push_back(random.uniform());
  for (const double u : lengths)
    centres.push_back(std::sqrt(-2 * std::log1p(-u)) *
                      std::cos(2 * 3.141592653589793 * random.uniform()));
  make_unit(centres, of.count);
  return gate_of(centres, of);
}

Doubles differences(const Floats& pooled, size_t width) {
  const Doubles states = doubles(pooled);
  const Principal of(states, width);
  const size_t examples = states.size() / width;
  Doubles centred(states.size()), rows(of.directions), spread(of.count), own(examples);
  for (size_t i = 0; i < states.size(); ++i) centred[i] = states[i] - of.mean[i % width];
  for (size_t i = 0; i < rows.size(); ++i) rows[i] *= of.scale[i % width];
  const Doubles along = products(rows, centred, width);
  for (size_t k = 0; k < of.count; ++k) {
    std::copy_n(&along[k * examples], examples, own.begin());
    spread[k] = deviation(own.data(), examples, 0);
  }
  const double most = *std::max_element(spread.begin(), spread.end());
  Doubles found(kFeatures * (width + 1));
  size_t made = 0;
  for (size_t k = 0; k < of.count; ++k) {
    if (!(spread[k] > 1e-6 * most)) continue;
    double* row = &found[made++ * (width + 1)];
    for (size_t i = 0; i < width; ++i) row[i] = rows[k * width + i] / spread[k];
    for (size_t i = 0; i < width; ++i) row[width] -= row[i] * of.mean[i];
  }
  found.back() = 1;
  for (double& each : found) each /= std::sqrt(static_cast<double>(made + 1));
  return found;
}

Doubles features(const Floats& pooled, const Doubles& directions, size_t width) {
  Doubles weights;
  for (size_t i = 0; i < directions.size(); ++i)
    if (i % (width + 1) < width) weights.push_back(directions[i]);
  Doubles made = products(doubles(pooled), weights, width);
  for (size_t i = 0; i < made.size(); ++i)
    made[i] += directions[i % kFeatures * (width + 1) + width];
  return made;
}

double evenness(const std::vector<int64_t>& served) {
  const double all = static_cast<double>(std::accumulate(served.begin(), served.end(), int64_t{0}));
  if (all <= 0 || served.size() < 2) return 1;
  double entropy = 0;
  for (const int64_t count : served)
    if (count) entropy -= static_cast<double>(count) / all * std::log(double(count) / all);
  return std::fabs(entropy / std::log(static_cast<double>(served.size())));
}

}  // namespace dsa::learn
