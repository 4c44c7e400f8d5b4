#include "engine/scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace dsa {

namespace {

constexpr size_t kGroup = 32;  // prompts between two looks at the clock

std::vector<const Item*> items_of(const std::vector<Encoded>& encoded) {
  std::vector<const Item*> items;
  for (const Encoded& example : encoded)
    for (const Item& item : example.items) items.push_back(&item);
  return items;
}

int64_t length(const Ids& ids) { return static_cast<int64_t>(ids.size()); }

}  // namespace

int64_t Scorer::cache_bytes(const Manifest& manifest, const std::vector<Encoded>& encoded) {
  return PromptCache::bytes_of(manifest, items_of(encoded));
}

Work Scorer::work_of(const std::vector<Encoded>& encoded) {
  Work work{false};
  for (const Encoded& example : encoded) {
    work.full_head = work.full_head || example.tokens.empty();
    for (const Item& item : example.items) {
      work.longest = std::max(work.longest, length(item.prompt));
      work.tail = std::max(work.tail, length(item.tail));
    }
  }
  return work;
}

size_t Scorer::load(const std::vector<Example>& examples, const learn::OnPrefill& on_prefill) {
  return load(encoder_.encode_all(examples), on_prefill);
}

size_t Scorer::load(std::vector<Encoded> encoded, const learn::OnPrefill& on_prefill) {
  cache_.reset();
  encoded_ = std::move(encoded);
  first_ = {0}, candidates_.clear();
  std::set<int64_t> tokens;
  for (const Encoded& example : encoded_) {
    first_.push_back(first_.back() + example.items.size());
    tokens.insert(example.tokens.begin(), example.tokens.end());
  }
  candidates_.assign(tokens.begin(), tokens.end());
  measure();
  const Work work = work_of(encoded_);
  chunks_ = engine_.layers().bound(options_.memory_mb, work);
  CacheOptions told{chunks_,
                    options_.folder,
                    options_.sealed,
                    options_.timed ? std::max(kGroup, most_items_) : 0,
                    options_.learns,
                    work.full_head,
                    on_prefill};
  engine_.layers().hold_all();
  cache_ = std::make_unique<PromptCache>(engine_, items_of(encoded_), std::move(told));
  if (options_.learns) engine_.layers().release_lower();
  size_t whole = 0;
  while (whole < encoded_.size() && first_[whole + 1] <= cache_->ready()) ++whole;
  return whole;
}

void Scorer::route_by(const learn::Gate* gate) { cache_->route_by(gate); }

void Scorer::route_as(learn::Some batch, const size_t* blocks) {
  for (size_t at = 0; at < batch.count; ++at, blocks += manifest().adapter.active)
    for (size_t item = first_[batch.at[at]]; item < first_[batch.at[at] + 1]; ++item)
      cache_->route_as(item, blocks);
}

const float* Scorer::pooled(uint32_t example) const { return cache_->pooled(first_[example]); }

size_t Scorer::pooled_width() const { return static_cast<size_t>(manifest().decoder.width); }

int64_t Scorer::tokens(learn::Some batch) const {
  int64_t total = 0;
  for (size_t at = 0; at < batch.count; ++at)
    for (const Item& item : encoded_[batch.at[at]].items) total += length(item.tail);
  return total;
}

const uint8_t* Scorer::served(learn::Some batch) {
  const auto blocks = static_cast<size_t>(manifest().adapter.blocks);
  if (blocks == 1) return nullptr;
  served_.assign(batch.count * blocks, 0);
  for (size_t at = 0; at < batch.count; ++at) {
    const int64_t* route = cache_->route(first_[batch.at[at]]);
    for (int64_t k = 0; k < manifest().adapter.active; ++k)
      served_[at * blocks + static_cast<size_t>(route ? route[k] : k)] = 1;
  }
  return served_.data();
}

size_t Scorer::count(uint32_t example) const {
  const Encoded& one = encoded_[example];
  return one.tokens.empty() ? one.items.size() : one.tokens.size();
}

void Scorer::measure() {
  most_items_ = most_scores_ = most_rows_ = 1;
  for (size_t at = 0; at < encoded_.size(); ++at) {
    most_items_ = std::max(most_items_, encoded_[at].items.size());
    most_scores_ = std::max(most_scores_, count(static_cast<uint32_t>(at)));
    for (const Item& item : encoded_[at].items) most_rows_ = std::max(most_rows_, item.tail.size());
  }
}

// For any batch of so many examples: the first step takes all that later ones need.
void Scorer::reserve(size_t examples, size_t lanes) {
  const size_t items = examples * most_items_;
  cache_->reserve(items);
  slices_.reserve(examples), single_.reserve(examples), several_.reserve(examples);
  items_.reserve(items), places_.reserve(examples);
  targets_.reserve(items * most_rows_), weights_.reserve(items * most_rows_);
  scores_.reserve(lanes * examples * most_scores_);
  found_.reserve(lanes * std::max(items, examples * candidates_.size()));
}

// Slices of the batch that fit one run: their rows with one lane, and their caches.
void Scorer::cut(learn::Some batch) {
  slices_.clear();
  size_t start = 0;
  int64_t rows = 0, past = 0, items = 0;
  for (size_t at = 0; at < batch.count; ++at) {
    int64_t own_rows = 0, own_past = 0;
    const Encoded& example = encoded_[batch.at[at]];
    for (const Item& item : example.items) {
      own_rows = std::max(own_rows, length(item.tail));
      own_past = std::max(own_past, length(item.prompt));
    }
    int64_t wide = std::max(rows, own_rows), far = std::max(past, own_past);
    int64_t count = items + static_cast<int64_t>(example.items.size());
    const bool full = count * wide > chunks_.probe_rows(far + wide);
    if ((full || cache_->padded_bytes(count, far) > chunks_.context) && at > start) {
      slices_.push_back({start, at});
      start = at, count = static_cast<int64_t>(example.items.size());
      wide = own_rows, far = own_past;
    }
    rows = wide, past = far, items = count;
  }
  slices_.push_back({start, batch.count});
}

// Every example's scores (L, K), at `places_`: log-probabilities, up to a constant.
void Scorer::raw(learn::Some batch, learn::Lanes lanes) {
  reserve(batch.count, lanes.count);
  places_.clear();
  size_t total = 0;
  for (size_t at = 0; at < batch.count; ++at) {
    places_.push_back(total);
    total += lanes.count * count(batch.at[at]);
  }
  scores_.resize(total);
  cut(batch);
  for (const Slice& slice : slices_) {
    single_.clear(), several_.clear();
    for (size_t at = slice.from; at < slice.to; ++at)
      (encoded_[batch.at[at]].tokens.empty() ? several_ : single_).push_back(at);
    if (!single_.empty()) tokens_of(batch, single_, lanes);
    if (!several_.empty()) sequences_of(batch, several_, lanes);
  }
}

size_t Scorer::lanes_at_once(const Context& context) const {
  const int64_t keys = context.prefix->length + context.past + context.rows;
  return static_cast<size_t>(
      std::max<int64_t>(1, chunks_.probe_rows(keys) / (context.batch * context.rows)));
}

void Scorer::tokens_of(learn::Some batch, const std::vector<size_t>& at, learn::Lanes lanes) {
  items_.clear();
  for (const size_t one : at) items_.push_back(first_[batch.at[one]]);
  const Context& context = cache_->context(items_);
  const size_t most = lanes_at_once(context), all = candidates_.size();
  const auto n = static_cast<size_t>(manifest().adapter_size());
  for (size_t lane = 0; lane < lanes.count; lane += most) {
    const size_t now = std::min(most, lanes.count - lane);
    found_.resize(now * at.size() * all);
    engine_.choose(context, lanes.rows + lane * n, static_cast<int64_t>(now), candidates_,
                   found_.data());
    for (size_t l = 0; l < now; ++l)
      for (size_t b = 0; b < at.size(); ++b) {
        const Ids& own = encoded_[batch.at[at[b]]].tokens;
        float* out = scores(at[b]) + (lane + l) * own.size();
        for (size_t k = 0; k < own.size(); ++k) {
          const auto column = std::lower_bound(candidates_.begin(), candidates_.end(), own[k]);
          out[k] =
              found_[(l * at.size() + b) * all + static_cast<size_t>(column - candidates_.begin())];
        }
      }
  }
}

void Scorer::sequences_of(learn::Some batch, const std::vector<size_t>& at, learn::Lanes lanes) {
  items_.clear();
  for (const size_t one : at)
    for (size_t item = first_[batch.at[one]]; item < first_[batch.at[one] + 1]; ++item)
      items_.push_back(item);
  const Context& context = cache_->context(items_);
  const auto rows = static_cast<size_t>(context.rows);
  targets_.assign(items_.size() * rows, 0), weights_.assign(items_.size() * rows, 0.0f);
  size_t place = 0;
  for (const size_t one : at)
    for (const Item& item : encoded_[batch.at[one]].items) {
      std::copy(item.targets.begin(), item.targets.end(), targets_.data() + place * rows);
      std::copy(item.weights.begin(), item.weights.end(), weights_.data() + place++ * rows);
    }
  const size_t most = lanes_at_once(context);
  const auto n = static_cast<size_t>(manifest().adapter_size());
  for (size_t lane = 0; lane < lanes.count; lane += most) {
    const size_t now = std::min(most, lanes.count - lane);
    found_.resize(now * items_.size());
    engine_.probe(context, lanes.rows + lane * n, static_cast<int64_t>(now), targets_.data(),
                  weights_.data(), found_.data());
    for (size_t l = 0; l < now; ++l) {
      const float* nats = found_.data() + l * items_.size();
      for (const size_t one : at) {
        const size_t own = count(batch.at[one]);
        for (size_t k = 0; k < own; ++k) scores(one)[(lane + l) * own + k] = -*nats++;
      }
    }
  }
}

void Scorer::probe(learn::Some batch, learn::Lanes lanes, float* losses, float* right) {
  raw(batch, lanes);
  for (size_t at = 0; at < batch.count; ++at) {
    const Encoded& example = encoded_[batch.at[at]];
    const size_t own = count(batch.at[at]);
    for (size_t lane = 0; lane < lanes.count; ++lane) {
      const float* score = scores(at) + lane * own;
      float& loss = losses[lane * batch.count + at];
      float won = std::numeric_limits<float>::quiet_NaN();
      if (own == 1) {
        float counted = 0;
        for (const float weight : example.items[0].weights) counted += weight;
        loss = -score[0] / counted;
      } else {
        loss = log_sum_exp(score, own) - score[example.answer];
        const auto best = static_cast<size_t>(std::max_element(score, score + own) - score);
        won = best == example.answer && !std::isnan(loss) ? 1.0f : 0.0f;
      }
      if (right) right[lane * batch.count + at] = won;
    }
  }
}

void Scorer::choose(learn::Some batch, learn::Lanes lanes, size_t width, float* out) {
  raw(batch, lanes);
  for (size_t at = 0; at < batch.count; ++at) {
    const size_t own = count(batch.at[at]);
    for (size_t lane = 0; lane < lanes.count; ++lane)
      std::copy_n(scores(at) + lane * own, own, out + (lane * batch.count + at) * width);
  }
}

void Scorer::choices(uint32_t example, const float* adapter, float* out) {
  choose({&example, 1}, {adapter, 1}, count(example), out);
}

}  // namespace dsa
