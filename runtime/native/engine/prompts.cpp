#include "engine/prompts.h"

#include <algorithm>

namespace dsa {

namespace {

constexpr int64_t kGrow = 64;      // positions by which a full cache grows
constexpr int64_t kLeastPart = 4;  // tokens that are run at a time whatever memory says

// Tokens to run at once on top of so many.
int64_t part(const Chunks& chunks, int64_t before) {
  const int64_t most = std::max(kLeastPart, chunks.prefill_tokens(before));
  return std::max(kLeastPart, chunks.prefill_tokens(before + most));
}

}  // namespace

Cache::Cache(const Prefix& done, int64_t spare, const Manifest& manifest)
    : length(done.length),
      room(done.length),
      keys(done.keys),
      values(done.values),
      pooled(done.pooled),
      rows_(manifest.decoder.n_layers * manifest.decoder.n_kv_heads),
      dim_(manifest.decoder.head_dim),
      width_(manifest.decoder.width) {
  keys = resized(keys, room, room + spare), values = resized(values, room, room + spare);
  room += spare;
}

// (N kv, had, d) as (N kv, to, d).
Halves Cache::resized(const Halves& from, int64_t had, int64_t to) const {
  Halves out(static_cast<size_t>(rows_ * to * dim_));
  for (int64_t row = 0; row < rows_; ++row)
    std::copy_n(from.data() + row * had * dim_, std::min(had, to) * dim_,
                out.data() + row * to * dim_);
  return out;
}

void Cache::append(const Halves& new_keys, const Halves& new_values, int64_t tokens,
                   const float* mean) {
  if (mean)
    add_mean(pooled, length, mean, tokens, width_);
  else
    pooled.clear();
  if (length + tokens > room) {
    const int64_t to = room + std::max(length + tokens - room, kGrow);
    keys = resized(keys, room, to), values = resized(values, room, to);
    room = to;
  }
  for (int64_t row = 0; row < rows_; ++row) {
    std::copy_n(new_keys.data() + row * tokens * dim_, tokens * dim_,
                keys.data() + (row * room + length) * dim_);
    std::copy_n(new_values.data() + row * tokens * dim_, tokens * dim_,
                values.data() + (row * room + length) * dim_);
  }
  length += tokens;
}

Prefix Cache::prefix() const {
  return {length, resized(keys, room, length), resized(values, room, length), pooled};
}

void add_mean(Floats& before, int64_t length, const float* after, int64_t more, int64_t width) {
  if (before.empty()) {
    before.assign(after, after + width);
    return;
  }
  const auto had = static_cast<double>(std::max<int64_t>(length - 1, 0));
  const auto now = static_cast<double>(length ? more : std::max<int64_t>(more - 1, 0));
  for (int64_t i = 0; i < width; ++i) {
    float& mean = before[static_cast<size_t>(i)];
    const double total =
        had * static_cast<double>(mean) + now * static_cast<double>(after[i]);
    mean = static_cast<float>(total / std::max(had + now, 1.0));
  }
}

Cache run_prompt(DecoderEngine& engine, const Prefix& done, const Ints& tokens, const Ints& tail,
                 const Chunks& chunks, int64_t room, Floats* hidden) {
  const auto count = static_cast<int64_t>(tokens.size()), rest = static_cast<int64_t>(tail.size());
  Cache cache(done, count + room, engine.bundle().manifest);
  for (int64_t at = 0; at < count;) {
    const int64_t left = count - at, size = part(chunks, cache.length);
    const bool last = left + rest <= size || left == 1;
    const int64_t now = last ? left : std::min(size - 1, left - 1);
    const Ints some(tokens.begin() + at, tokens.begin() + at + now);
    // A prefill wants a response; any token does, for what precedes it does not depend on it.
    const Ints follows = last ? tail : Ints{some.back()};
    Prefilled made = engine.prefill(cache.prefix(), some, follows, {now});
    cache.append(made.keys, made.values, now, made.pooled.data());
    at += now;
    if (hidden) *hidden = std::move(made.hidden);
  }
  return cache;
}

}  // namespace dsa
