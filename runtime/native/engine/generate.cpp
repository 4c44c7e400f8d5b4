#include "engine/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/errors.h"
#include "engine/prompt_cache.h"
#include "learn/random.h"

namespace dsa {

namespace {

constexpr int64_t kGrow = 64;

int64_t likeliest(const float* logits, int64_t count) {
  const float* best = std::max_element(logits, logits + count);
  return best - logits;
}

// The smallest set of tokens that reaches top_p, at least one (1904.09751).
int64_t drawn(const float* logits, int64_t count, const Sampling& sampling, double chance) {
  const double highest = logits[likeliest(logits, count)];
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  std::vector<double> shares;
  double total = 0;
  for (const int64_t id : order) {
    shares.push_back(std::exp((logits[id] - highest) / sampling.temperature));
    total += shares.back();
  }
  size_t keep = 0;
  double mass = 0;
  while (keep < shares.size() && mass < sampling.top_p) mass += shares[keep++] / total;
  double left = chance * mass * total;
  for (size_t at = 0; at < keep; ++at)
    if ((left -= shares[at]) < 0) return order[at];
  return order[keep - 1];
}

void check(const Sampling& sampling) {
  if (sampling.temperature >= 0 && sampling.top_p > 0 && sampling.top_p <= 1) return;
  throw Error(Kind::usage, text("temperature is ", sampling.temperature, " and top_p is ",
                                sampling.top_p, ", expected temperature ≥ 0 and 0 < top_p ≤ 1."));
}

}  // namespace

void generate(DecoderEngine& engine, const Ints& prompt, const Ints& invocation,
              const float* adapter, const learn::Gate* gate, const Sampling& sampling, const Ints& ends,
              int64_t most, const Chunks& chunks, const std::function<bool(int64_t)>& on_token) {
  check(sampling);
  const Manifest& manifest = engine.bundle().manifest;
  Cache cache = run_prompt(engine, {}, prompt, invocation, chunks, kGrow, nullptr);
  Ints index;
  Floats weight;
  if (gate && !cache.pooled.empty()) {
    learn::Ranking ranking;
    const auto& order = ranking.of(*gate, cache.pooled.data());
    index.assign(order.begin(), order.begin() + manifest.adapter.active);
    weight.assign(index.size(), static_cast<float>(1.0 / static_cast<double>(index.size())));
  }
  const Route route = index.empty() ? Route{} : Route{index.data(), weight.data()};
  Ints tokens = invocation;
  for (int64_t made = 0; made < most; ++made) {
    const auto next =
        engine.decode(tokens, cache.keys, cache.values, cache.room, cache.length, adapter, route);
    const int64_t vocabulary = manifest.decoder.vocab_size;
    const int64_t best = likeliest(next.logits, vocabulary);
    if (!std::isfinite(next.logits[best])) throw Error(Kind::engine, kNotNumbers);
    const double chance =
        learn::Stream(sampling.seed, static_cast<uint64_t>(made), 0, learn::Purpose::order)
            .uniform();
    const int64_t token =
        sampling.temperature == 0 ? best : drawn(next.logits, vocabulary, sampling, chance);
    cache.append(next.keys, next.values, static_cast<int64_t>(tokens.size()), nullptr);
    if (std::find(ends.begin(), ends.end(), token) != ends.end() || !on_token(token)) return;
    tokens = {token};
  }
}

}  // namespace dsa
