#include "engine/decoder.h"

#include <algorithm>
#include <cstring>

namespace dsa {

void keep(const float* states, int64_t batch, int64_t tokens, int64_t kv, int64_t dim, int64_t done,
          int64_t past, Half* out) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t h = 0; h < kv; ++h) {
        const float* from = states + ((b * tokens + t) * kv + h) * dim;
        Half* to = out + ((b * kv + h) * past + done + t) * dim;
        for (int64_t i = 0; i < dim; ++i) to[i] = to_half(from[i]);
      }
}

int64_t DecoderEngine::cache_row() const {
  return manifest().decoder.n_kv_heads * manifest().decoder.head_dim;
}

// Lanes and examples cut so that the rows of each part fit the programs' bound.
template <class Work>
void DecoderEngine::parts(const Context& context, int64_t lanes, Work&& work) {
  const int64_t bound = layers_.rows(), rows = std::max<int64_t>(context.rows, 1);
  const int64_t some = std::max<int64_t>(1, std::min(context.batch, bound / rows));
  const int64_t most =
      std::max<int64_t>(1, std::min(lanes, bound / std::max<int64_t>(some * context.rows, 1)));
  for (int64_t a = 0; a < lanes; a += most)
    for (int64_t b = 0; b < context.batch; b += some)
      work(Part{a, std::min(most, lanes - a), b, std::min(some, context.batch - b)});
}

// Keys and values (examples, kv, P, d) of one adapted layer: all layers at once would take as much
// memory as the weights.
void DecoderEngine::gather(const Context& context, const Part& part, int64_t at) {
  const int64_t kv = manifest().decoder.n_kv_heads, dim = manifest().decoder.head_dim;
  const int64_t row = part.examples * cache_row();
  const int64_t most = std::min(context.batch, layers_.rows()) * cache_row() * context.most;
  for (size_t side = 0; side < 2; ++side) {
    gathered_[side].reserve(static_cast<size_t>(most));
    gathered_[side].assign(static_cast<size_t>(row * context.past), 0);
    Half* to = gathered_[side].data();
    for (int64_t b = part.example; b < part.example + part.examples; ++b) {
      const int64_t own = context.lengths[b] * dim;
      const Half* from =
          context.kept[b] + (static_cast<int64_t>(side) * manifest().adapted() + at) * kv * own;
      for (int64_t head = 0; head < kv; ++head, from += own, to += context.past * dim)
        std::copy_n(from, own, to);
    }
  }
}

// The adapted layers over a part of a context's rows: (lanes, examples, R, D).
const float* DecoderEngine::adapted(const Context& context, const float* adapter,
                                    const Part& part) {
  const int64_t width = manifest().decoder.width, size = part.examples * context.rows * width;
  const int64_t split = manifest().split();
  x_.reserve(static_cast<size_t>(layers_.rows() * width));
  x_.resize(static_cast<size_t>(part.lanes * size));
  for (int64_t lane = 0; lane < part.lanes; ++lane)
    std::copy_n(context.hidden + part.example * context.rows * width, size,
                x_.data() + lane * size);
  const float* x = x_.data();
  const int64_t active = manifest().adapter.active;
  Route route = context.route;
  if (route.index) route.index += part.example * active, route.weight += part.example * active;
  for (int64_t at = 0; at < manifest().adapted(); ++at) {
    const int64_t shared = (split + at) * context.prefix->length * cache_row();
    gather(context, part, at);
    x = layers_
            .run(split + at,
                 {part.lanes, part.examples, context.rows, x, context.prefix->keys.data() + shared,
                  context.prefix->values.data() + shared, context.prefix->length,
                  gathered_[0].data(), gathered_[1].data(), context.past,
                  context.lengths + part.example,
                  adapter + part.lane * manifest().adapter_size() + at * manifest().layer_size(),
                  route})
            .x;
  }
  return x;
}

void DecoderEngine::probe(const Context& context, const float* adapter, int64_t lanes,
                          const int64_t* targets, const float* weights, float* losses) {
  std::fill_n(losses, lanes * context.batch, 0.0f);
  const int64_t most = std::min(layers_.head_rows(), lanes * context.batch * context.most_rows);
  scored_ = std::max(scored_, static_cast<size_t>(most));
  parts(context, lanes, [&](const Part& part) {
    score(context, part, adapted(context, adapter, part), targets, weights, losses);
  });
}

// Only rows that count need logits: as many of them at a time as the head takes.
void DecoderEngine::score(const Context& context, const Part& part, const float* x,
                          const int64_t* targets, const float* weights, float* losses) {
  const int64_t width = manifest().decoder.width, vocabulary = manifest().decoder.vocab_size;
  asked_.clear(), asked_.reserve(static_cast<size_t>(layers_.rows()));
  for (int64_t b = 0; b < part.examples; ++b)
    for (int64_t row = 0; row < context.rows; ++row)
      if (weights[(part.example + b) * context.rows + row] != 0)
        for (int64_t lane = 0; lane < part.lanes; ++lane) asked_.push_back({lane, b, row});
  // The last row again rather than a shorter run: XNNPACK plans, and allocates, for each new size.
  const size_t size = scored_;
  rows_.resize(size * static_cast<size_t>(width));
  for (size_t first = 0; first < asked_.size(); first += size) {
    const size_t count = std::min(size, asked_.size() - first);
    for (size_t at = 0; at < size; ++at) {
      const Asked& one = asked_[std::min(first + at, asked_.size() - 1)];
      const int64_t from = (one.lane * part.examples + one.example) * context.rows + one.row;
      std::copy_n(x + from * width, width, rows_.data() + at * static_cast<size_t>(width));
    }
    const float* logits = layers_.logits(rows_.data(), static_cast<int64_t>(size));
    for (size_t at = 0; at < count; ++at) {
      const Asked& one = asked_[first + at];
      const float* own = logits + static_cast<int64_t>(at) * vocabulary;
      const int64_t place = (part.example + one.example) * context.rows + one.row;
      const float nats = log_sum_exp(own, static_cast<size_t>(vocabulary)) - own[targets[place]];
      losses[(part.lane + one.lane) * context.batch + part.example + one.example] +=
          weights[place] * nats;
    }
  }
}

void DecoderEngine::choose(const Context& context, const float* adapter, int64_t lanes,
                           const Ints& candidates, float* log_probs) {
  const int64_t width = manifest().decoder.width;
  const auto count = static_cast<int64_t>(candidates.size());
  parts(context, lanes, [&](const Part& part) {
    const float* x = adapted(context, adapter, part);
    for (int64_t lane = 0; lane < part.lanes; ++lane)
      for (int64_t b = 0; b < part.examples; ++b) {
        const int64_t last = (lane * part.examples + b + 1) * context.rows - 1;
        float* out = log_probs + ((part.lane + lane) * context.batch + part.example + b) * count;
        layers_.ends().log_probs(x + last * width, candidates, out);
      }
  });
}

DecoderEngine::Decoded DecoderEngine::decode(const Ints& tokens, const Halves& keys,
                                             const Halves& values, int64_t room, int64_t length,
                                             const float* adapter, Route route) {
  const Decoder& decoder = manifest().decoder;
  const auto count = static_cast<int64_t>(tokens.size());
  const int64_t row = cache_row(), split = manifest().split();
  new_keys_.resize(static_cast<size_t>(decoder.n_layers * count * row));
  new_values_.resize(new_keys_.size());
  x_.resize(static_cast<size_t>(count * decoder.width));
  layers_.ends().embed(tokens.data(), tokens.size(), x_.data());
  const float* x = x_.data();
  for (int64_t layer = 0; layer < decoder.n_layers; ++layer) {
    const bool carries = layer >= split;
    const float* slots = carries ? adapter + (layer - split) * manifest().layer_size() : nullptr;
    const int64_t cached = layer * room * row;
    const LayerOutput out = layers_.run(
        layer, {1, 1, count, x, nullptr, nullptr, 0, keys.data() + cached, values.data() + cached,
                room, &length, slots, carries ? route : Route{}});
    x = out.x;
    keep(out.keys, 1, count, decoder.n_kv_heads, decoder.head_dim, 0, count,
         new_keys_.data() + layer * count * row);
    keep(out.values, 1, count, decoder.n_kv_heads, decoder.head_dim, 0, count,
         new_values_.data() + layer * count * row);
  }
  y_.assign(x + (count - 1) * decoder.width, x + count * decoder.width);
  return {layers_.logits(y_.data(), 1), new_keys_, new_values_};
}

}  // namespace dsa
