// Prompts and responses through the layers, without lanes.
#include <algorithm>

#include "engine/decoder.h"

namespace dsa {

namespace {

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Parts (N, B1, …), (N, B2, …) as one (N, B1 + B2, …).
Halves joined(const std::vector<const Halves*>& parts, int64_t layers) {
  Halves out;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (const Halves* part : parts) {
      const size_t size = part->size() / static_cast<size_t>(layers);
      const auto first = part->begin() + static_cast<std::ptrdiff_t>(size) * layer;
      out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(size));
    }
  return out;
}

}  // namespace

Floats Climb::mean(int64_t width, int64_t first) const {
  Floats out(lengths.size() * static_cast<size_t>(width));
  for (int64_t b = 0; b < batch(); ++b)
    for (int64_t i = 0; i < width; ++i) {
      float total = 0;
      for (int64_t t = first; t < lengths[static_cast<size_t>(b)]; ++t)
        total += x[static_cast<size_t>((b * past + t) * width + i)];
      const double count =
          static_cast<double>(std::max<int64_t>(lengths[static_cast<size_t>(b)] - first, 1));
      out[static_cast<size_t>(b * width + i)] = static_cast<float>(total / count);
    }
  return out;
}

int64_t DecoderEngine::prompts_at_once(int64_t past, int64_t rows) const {
  return std::max<int64_t>(1, layers_.rows() / std::max({int64_t{1}, past, rows}));
}

Prefilled DecoderEngine::prefill(const Prefix& prefix, const Ints& prompt, const Ints& response,
                                 const Ints& lengths) {
  const auto batch = static_cast<int64_t>(lengths.size());
  const int64_t past = static_cast<int64_t>(prompt.size()) / batch;
  const int64_t rows = static_cast<int64_t>(response.size()) / batch;
  const int64_t most = prompts_at_once(past, rows);
  std::vector<Prefilled> done;
  for (int64_t at = 0; at < batch; at += most) {
    const int64_t to = std::min(at + most, batch);
    done.push_back(
        prefill_part(prefix, {prompt.begin() + at * past, prompt.begin() + to * past},
                     {response.begin() + at * rows, response.begin() + to * rows},
                     {past, rows, {lengths.begin() + at, lengths.begin() + to}, {}, {}}));
  }
  if (done.size() == 1) return std::move(done[0]);
  Prefilled all;
  std::vector<const Halves*> keys, values;
  for (const Prefilled& part : done) {
    append(all.hidden, part.hidden), append(all.pooled, part.pooled);
    keys.push_back(&part.keys), values.push_back(&part.values);
  }
  all.keys = joined(keys, manifest().decoder.n_layers);
  all.values = joined(values, manifest().decoder.n_layers);
  return all;
}

Prefilled DecoderEngine::prefill_part(const Prefix& prefix, const Ints& prompt,
                                      const Ints& response, Climb states) {
  const size_t cache = prompt.size() * static_cast<size_t>(cache_row());
  Prefilled made;
  made.keys.resize(static_cast<size_t>(manifest().decoder.n_layers) * cache);
  made.values.resize(made.keys.size());
  const Keep keep = [&](int64_t layer, const Half* keys, const Half* values) {
    std::copy_n(keys, cache, made.keys.data() + static_cast<size_t>(layer) * cache);
    std::copy_n(values, cache, made.values.data() + static_cast<size_t>(layer) * cache);
  };
  below(prefix, prompt, response, states, keep);
  made.pooled = states.mean(manifest().decoder.width, prefix.length == 0);
  above(prefix, states, keep);
  made.hidden = std::move(states.hidden);
  return made;
}

void DecoderEngine::below(const Prefix& prefix, const Ints& prompt, const Ints& response,
                          Climb& states, const Keep& keep) {
  const auto width = static_cast<size_t>(manifest().decoder.width);
  scored_ = 0;
  states.x.resize(prompt.size() * width), states.hidden.resize(response.size() * width);
  layers_.ends().embed(prompt.data(), prompt.size(), states.x.data());
  layers_.ends().embed(response.data(), response.size(), states.hidden.data());
  for (int64_t layer = 0; layer < manifest().split(); ++layer) {
    prompt_layer(layer, prefix, states);
    response_layer(layer, prefix, states);
    if (keep) keep(layer, sides_[0].data(), sides_[1].data());
  }
}

void DecoderEngine::above(const Prefix& prefix, Climb& states, const Keep& keep) {
  for (int64_t layer = manifest().split(); layer < manifest().decoder.n_layers; ++layer) {
    prompt_layer(layer, prefix, states);
    keep(layer, sides_[0].data(), sides_[1].data());
  }
}

// One layer over whole prompts, as many tokens at a time as rows allow; their keys and values
// (B, kv, P, d) to `sides_`. Padding comes after a prompt's own tokens, so none of them ever looks
// at it.
void DecoderEngine::prompt_layer(int64_t layer, const Prefix& prefix, Climb& states) {
  const Decoder& decoder = manifest().decoder;
  const int64_t width = decoder.width, kv = decoder.n_kv_heads, dim = decoder.head_dim;
  const int64_t batch = states.batch(), past = states.past;
  const int64_t size = std::max<int64_t>(1, layers_.rows() / std::max<int64_t>(batch, 1));
  const int64_t shared = layer * prefix.length * cache_row();
  for (Halves& side : sides_) side.resize(static_cast<size_t>(batch * past * cache_row()));
  for (int64_t start = 0; start < past; start += size) {
    const int64_t tokens = std::min(size, past - start);
    const Ints done(static_cast<size_t>(batch), start);
    x_.resize(static_cast<size_t>(batch * tokens * width));
    for (int64_t b = 0; b < batch; ++b)
      std::copy_n(states.x.data() + (b * past + start) * width, tokens * width,
                  x_.data() + b * tokens * width);
    for (size_t side = 0; side < 2; ++side) {
      gathered_[side].resize(static_cast<size_t>(batch * kv * start * dim));
      for (int64_t row = 0; row < batch * kv; ++row)
        std::copy_n(sides_[side].data() + row * past * dim, start * dim,
                    gathered_[side].data() + row * start * dim);
    }
    const LayerOutput out = layers_.run(layer, {1,
                                                batch,
                                                tokens,
                                                x_.data(),
                                                prefix.keys.data() + shared,
                                                prefix.values.data() + shared,
                                                prefix.length,
                                                gathered_[0].data(),
                                                gathered_[1].data(),
                                                start,
                                                done.data(),
                                                nullptr,
                                                {}});
    for (int64_t b = 0; b < batch; ++b)
      std::copy_n(out.x + b * tokens * width, tokens * width,
                  states.x.data() + (b * past + start) * width);
    keep(out.keys, batch, tokens, kv, dim, start, past, sides_[0].data());
    keep(out.values, batch, tokens, kv, dim, start, past, sides_[1].data());
  }
}

// The same layer over the responses, which see their prompts.
void DecoderEngine::response_layer(int64_t layer, const Prefix& prefix, Climb& states) {
  const int64_t shared = layer * prefix.length * cache_row();
  const LayerOutput out = layers_.run(layer, {1,
                                              states.batch(),
                                              states.rows,
                                              states.hidden.data(),
                                              prefix.keys.data() + shared,
                                              prefix.values.data() + shared,
                                              prefix.length,
                                              sides_[0].data(),
                                              sides_[1].data(),
                                              states.past,
                                              states.lengths.data(),
                                              nullptr,
                                              {}});
  std::copy_n(out.x, states.hidden.size(), states.hidden.data());
}

}  // namespace dsa
