#include "engine/prompt_cache.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>

#include "core/errors.h"

namespace dsa {

namespace {

constexpr size_t kSharedLeast = 4;  // shorter beginnings are not worth a run of their own
constexpr int64_t kLeast = 16;      // tokens of a part of a long prompt

// Tokens that all prompts begin with; each keeps at least one of its own.
size_t shared_of(const std::vector<const Item*>& items) {
  const Ids& first = items[0]->prompt;
  size_t shared = first.size() - 1;
  for (const Item* item : items) {
    shared = std::min(shared, item->prompt.size() - 1);
    size_t same = 0;
    while (same < shared && item->prompt[same] == first[same]) ++same;
    shared = same;
  }
  return items.size() > 1 && shared >= kSharedLeast ? shared : 0;
}

int64_t size_of(const Manifest& manifest, const Item& item, int64_t shared) {
  const Decoder& d = manifest.decoder;
  const int64_t own = static_cast<int64_t>(item.prompt.size()) - shared;
  const int64_t caches = 2 * manifest.adapted() * d.n_kv_heads * d.head_dim * 2;
  return static_cast<int64_t>(item.tail.size()) * d.width * 4 + own * std::max(caches, d.width * 4);
}

// For each prompt, the first one of the same tokens: these must not be told apart.
Ints alike(const std::vector<const Item*>& items) {
  std::map<Ids, int64_t> first;
  Ints found;
  for (size_t at = 0; at < items.size(); ++at)
    found.push_back(first.emplace(items[at]->prompt, static_cast<int64_t>(at)).first->second);
  return found;
}

}  // namespace

int64_t PromptCache::bytes_of(const Manifest& manifest, const std::vector<const Item*>& items) {
  const auto shared = static_cast<int64_t>(shared_of(items));
  int64_t total = 0;
  for (const Item* item : items) total += size_of(manifest, *item, shared);
  return total;
}

PromptCache::PromptCache(DecoderEngine& engine, const std::vector<const Item*>& items,
                         CacheOptions options)
    : engine_(engine),
      manifest_(engine.bundle().manifest),
      items_(items),
      options_(std::move(options)),
      row_(manifest_.decoder.n_kv_heads * manifest_.decoder.head_dim) {
  if (options_.halves) engine_.layers().hold_lower();
  const size_t shared = shared_of(items_);
  if (shared) {
    const Ids start(items_[0]->prompt.begin(),
                    items_[0]->prompt.begin() + static_cast<std::ptrdiff_t>(shared));
    prefix_ =
        run_prompt(engine_, prefix_, start, {start.back()}, options_.chunks, 0, nullptr).prefix();
  }
  offsets_ = {0};
  for (size_t at = 0; at < items_.size(); ++at) {
    const int64_t bytes = size_of(manifest_, *items_[at], prefix_.length);
    offsets_.push_back(offsets_.back() + static_cast<size_t>(bytes));
    most_rows_ = std::max(most_rows_, tail(at));
    most_past_ = std::max(most_past_, own(at));
  }
  const bool spills = static_cast<int64_t>(offsets_.back()) > options_.chunks.cache;
  storage_ = Storage(offsets_.back(), spills && !options_.sealed ? &options_.folder : nullptr);
  if (manifest_.adapter.blocks > 1) {
    pooled_.resize(items_.size() * static_cast<size_t>(manifest_.decoder.width));
    alike_ = alike(items_);
  }
  climb_upper(climb_lower());
}

int64_t PromptCache::own(size_t item) const {
  return static_cast<int64_t>(items_[item]->prompt.size()) - prefix_.length;
}

int64_t PromptCache::tail(size_t item) const {
  return static_cast<int64_t>(items_[item]->tail.size());
}

int64_t PromptCache::tokens(size_t item) const { return own(item) + tail(item); }

float* PromptCache::hidden(size_t item) const {
  return reinterpret_cast<float*>(storage_.data() + offsets_[item]);
}

Half* PromptCache::caches(size_t item) const {
  return reinterpret_cast<Half*>(hidden(item) + tail(item) * manifest_.decoder.width);
}

// Tokens that a prefill may hold which sees as much as this item.
int64_t PromptCache::room(size_t item) const {
  const int64_t length = tokens(item);
  const int64_t found = options_.chunks.prefill_tokens(prefix_.length + length);
  if (options_.chunks.strict && found < std::min(length, kLeast + tail(item)))
    throw Error(Kind::budget,
                text("an example has ", length, " tokens, and memory_mb has room for ", found,
                     " at a time: raise memory_mb or shorten the example."));
  return found;
}

// Items in batches of similar length, each within what a run takes and a prefill may hold, or
// alone.
std::vector<PromptCache::Batch> PromptCache::batches(size_t from, size_t to) const {
  std::vector<size_t> by_length(to - from);
  std::iota(by_length.begin(), by_length.end(), from);
  std::stable_sort(by_length.begin(), by_length.end(),
                   [this](size_t a, size_t b) { return tokens(a) < tokens(b); });
  std::vector<Batch> made;
  int64_t past = 0, rows = 0;
  for (const size_t item : by_length) {
    const auto count = made.empty() ? 0 : static_cast<int64_t>(made.back().size());
    past = std::max(past, own(item)), rows = std::max(rows, tail(item));
    if (!count || (count + 1) * tokens(item) > room(item) ||
        count >= engine_.prompts_at_once(past, rows)) {
      made.emplace_back();
      past = own(item), rows = tail(item);
    }
    made.back().push_back(item);
  }
  return made;
}

// All batches through the lower layers, then all through the upper ones: a fit needs the lower ones
// no more, and holds half of the layers at a time. Between the two a prompt's hidden states lie
// where its keys and values will. No more groups begin than there is time to finish.
std::vector<PromptCache::Group> PromptCache::climb_lower() {
  const size_t size = options_.group ? options_.group : items_.size();
  std::vector<Group> begun;
  double ahead = 0;
  for (size_t from = 0; from < items_.size() && (!from || time_left(ahead)); from += size) {
    const size_t end = std::min(from + size, items_.size());
    begun.push_back({end, batches(from, end)});
    for (const Batch& batch : begun.back().batches) {
      ahead += lower(batch);
      told(batch.size() / 2);
    }
  }
  return begun;
}

void PromptCache::climb_upper(const std::vector<Group>& groups) {
  if (options_.halves) {
    engine_.layers().release_lower();
    engine_.layers().hold_all();
    if (options_.full_head) engine_.layers().load_head();
  }
  for (const Group& group : groups) {
    for (const Batch& batch : group.batches) {
      if (!in_parts(batch[0])) upper(batch);
      told(batch.size() - batch.size() / 2);
    }
    ready_ = group.end;
    if (!time_left(0)) break;  // they took longer than it seemed
  }
}

void PromptCache::told(size_t more) {
  storage_.drop_pages();
  if (options_.on_items && more) options_.on_items(more, 0);
}

// Whether others may begin, while those that have begun will take so many seconds more.
bool PromptCache::time_left(double ahead) const {
  return !options_.on_items || options_.on_items(0, ahead);
}

// Whether an item has more tokens than a prefill may hold.
bool PromptCache::in_parts(size_t item) const { return tokens(item) > room(item); }

Climb PromptCache::climb(const Batch& batch) const {
  Climb made{0, 0, {}, {}, {}};
  for (const size_t item : batch) {
    made.past = std::max(made.past, own(item)), made.rows = std::max(made.rows, tail(item));
    made.lengths.push_back(own(item));
  }
  return made;
}

// Returns the seconds that the upper layers will take, by what the lower ones took: none where the
// batch has climbed them as well.
double PromptCache::lower(const Batch& batch) {
  if (in_parts(batch[0])) return prefill_parts(batch[0]), 0;
  const auto began = std::chrono::steady_clock::now();
  Climb states = climb(batch);
  Ints prompts(batch.size() * static_cast<size_t>(states.past)),
      tails(batch.size() * static_cast<size_t>(states.rows));
  for (size_t at = 0; at < batch.size(); ++at) {
    const Item& item = *items_[batch[at]];
    std::copy(item.prompt.begin() + prefix_.length, item.prompt.end(),
              prompts.begin() + static_cast<std::ptrdiff_t>(at) * states.past);
    std::copy(item.tail.begin(), item.tail.end(),
              tails.begin() + static_cast<std::ptrdiff_t>(at) * states.rows);
  }
  engine_.below(prefix_, prompts, tails, states, nullptr);
  const int64_t width = manifest_.decoder.width;
  const Floats pooled = pooled_.empty() ? Floats() : states.mean(width, prefix_.length == 0);
  for (size_t at = 0; at < batch.size(); ++at) {
    const auto row = static_cast<int64_t>(at) * width;
    std::copy_n(states.hidden.data() + row * states.rows, tail(batch[at]) * width,
                hidden(batch[at]));
    std::copy_n(states.x.data() + row * states.past, own(batch[at]) * width,
                reinterpret_cast<float*>(caches(batch[at])));
    if (!pooled.empty()) pool(batch[at], pooled.data() + row);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const auto below = static_cast<double>(manifest_.split() * (states.past + states.rows));
  const auto above = static_cast<double>(manifest_.adapted() * states.past);
  return below > 0 ? took.count() * above / below : 0;
}

void PromptCache::pool(size_t item, const float* mean) {
  const int64_t width = manifest_.decoder.width;
  Floats whole = prefix_.pooled;
  add_mean(whole, prefix_.length, mean, own(item), width);
  std::copy(whole.begin(), whole.end(),
            pooled_.begin() + static_cast<std::ptrdiff_t>(item) * width);
}

void PromptCache::upper(const Batch& batch) {
  Climb states = climb(batch);
  const int64_t width = manifest_.decoder.width, each = states.past * width;
  states.x.resize(batch.size() * static_cast<size_t>(each));
  for (size_t at = 0; at < batch.size(); ++at)
    std::copy_n(reinterpret_cast<const float*>(caches(batch[at])), own(batch[at]) * width,
                states.x.data() + static_cast<int64_t>(at) * each);
  engine_.above(prefix_, states, [&](int64_t layer, const Half* keys, const Half* values) {
    for (size_t at = 0; at < batch.size(); ++at) {
      const int64_t from = static_cast<int64_t>(at) * states.past * row_;
      keep(batch[at], layer, keys + from, values + from, states.past, 0);
    }
  });
}

// One item, alone and as many of its tokens at a time as there is room for.
void PromptCache::prefill_parts(size_t item) {
  const Item& one = *items_[item];
  const Ids tokens(one.prompt.begin() + prefix_.length, one.prompt.end());
  Floats states;
  const Cache made = run_prompt(engine_, prefix_, tokens, one.tail, options_.chunks, 0, &states);
  std::copy_n(states.data(), tail(item) * manifest_.decoder.width, hidden(item));
  for (int64_t layer = manifest_.split(); layer < manifest_.decoder.n_layers; ++layer) {
    const int64_t from = layer * made.room * row_;
    keep(item, layer, made.keys.data() + from, made.values.data() + from, made.room,
         prefix_.length);
  }
  if (!pooled_.empty())
    std::copy(made.pooled.begin(), made.pooled.end(),
              pooled_.begin() + static_cast<std::ptrdiff_t>(item) * manifest_.decoder.width);
}

// Stores a layer's keys and values (kv, past, d) from position `skip` on: no padding.
void PromptCache::keep(size_t item, int64_t layer, const Half* keys, const Half* values,
                       int64_t past, int64_t skip) {
  const int64_t dim = manifest_.decoder.head_dim, size = own(item) * dim;
  Half* to = caches(item) + (layer - manifest_.split()) * own(item) * row_;
  for (const Half* from : {keys, values}) {
    for (int64_t head = 0; head < manifest_.decoder.n_kv_heads; ++head)
      std::copy_n(from + (head * past + skip) * dim, size, to + head * size);
    to += manifest_.adapted() * own(item) * row_;
  }
}

void PromptCache::reserve(size_t count) {
  if (count <= reserved_) return;
  reserved_ = count;
  const auto rows = count * static_cast<size_t>(most_rows_ * manifest_.decoder.width);
  hidden_.reserve(rows), kept_.reserve(count);
  const size_t routes = count * static_cast<size_t>(manifest_.adapter.active);
  lengths_.reserve(count), index_.reserve(routes), weights_.reserve(routes);
}

const Context& PromptCache::context(const std::vector<size_t>& items) {
  const auto count = static_cast<int64_t>(items.size()), width = manifest_.decoder.width;
  storage_.drop_pages();
  reserve(items.size());
  int64_t rows = 0, past = 0;
  lengths_.clear(), index_.clear(), kept_.clear();
  for (const size_t item : items) {
    rows = std::max(rows, tail(item));
    past = std::max(past, own(item));
    lengths_.push_back(own(item));
    if (routes_.empty()) continue;
    index_.insert(index_.end(), route(item), route(item) + manifest_.adapter.active);
  }
  weights_.assign(index_.size(),
                  static_cast<float>(1.0 / static_cast<double>(manifest_.adapter.active)));
  hidden_.assign(static_cast<size_t>(count * rows * width), 0.0f);
  for (int64_t at = 0; at < count; ++at) {
    const size_t item = items[static_cast<size_t>(at)];
    std::copy_n(hidden(item), tail(item) * width, hidden_.data() + at * rows * width);
    kept_.push_back(caches(item));
  }
  const Route route = index_.empty() ? Route{} : Route{index_.data(), weights_.data()};
  context_ = {&prefix_,     count,           rows, past, most_past_, most_rows_, hidden_.data(),
              kept_.data(), lengths_.data(), route};
  return context_;
}

// The blocks of highest score serve a prompt, equal scores in the order of their index.
void PromptCache::route_by(const learn::Gate* gate) {
  routes_.clear();
  if (!gate || pooled_.empty()) return;
  for (size_t item = 0; item < items_.size(); ++item) {
    const float* pooled = pooled_.data() + alike_[item] * manifest_.decoder.width;
    const std::vector<size_t>& order = ranking_.of(*gate, pooled);
    routes_.insert(routes_.end(), order.begin(), order.begin() + manifest_.adapter.active);
  }
}

void PromptCache::route_as(size_t item, const size_t* blocks) {
  const int64_t active = manifest_.adapter.active;
  std::copy_n(blocks, active, routes_.data() + static_cast<int64_t>(item) * active);
}

const float* PromptCache::pooled(size_t item) const {
  return pooled_.empty() ? nullptr
                         : pooled_.data() + static_cast<int64_t>(item) * manifest_.decoder.width;
}

const int64_t* PromptCache::route(size_t item) const {
  return routes_.empty() ? nullptr
                         : routes_.data() + static_cast<int64_t>(item) * manifest_.adapter.active;
}

int64_t PromptCache::padded_bytes(int64_t count, int64_t prompt) const {
  const int64_t length = std::max<int64_t>(1, prompt - prefix_.length);
  return 2 * 2 * count * length * manifest_.adapted() * row_;
}

}  // namespace dsa
