// The methods of a bundle over its programs: prefill, probe, choose, decode.
#pragma once

#include <functional>

#include "engine/layers.h"

namespace dsa {

// Prompts (B, P), of which `lengths` (B,) are valid, and responses (B, R) on their way through the
// layers: hidden states x (B, P, D) and hidden (B, R, D).
struct Climb {
  int64_t past, rows;
  Ints lengths;
  Floats x, hidden;

  int64_t batch() const { return static_cast<int64_t>(lengths.size()); }
  // (B, D) of x over the valid tokens, from token `first` on.
  Floats mean(int64_t width, int64_t first) const;
};

class DecoderEngine {
 public:
  DecoderEngine(const Bundle& bundle, int threads, int64_t kept)
      : bundle_(bundle), layers_(bundle, threads, kept) {}

  // Runs the base over prompts (B, P), of which `lengths` (B,) are valid, and responses (B, R).
  Prefilled prefill(const Prefix& prefix, const Ints& prompt, const Ints& response,
                    const Ints& lengths);

  // The same in two halves, so that what is between them may lie elsewhere, and the layers of one
  // be freed before those of the other are loaded. `keep` is told keys and values (B, kv, P, d) of
  // each layer. below fills x and hidden; hidden is done at the split.
  using Keep = std::function<void(int64_t layer, const Half* keys, const Half* values)>;
  void below(const Prefix& prefix, const Ints& prompt, const Ints& response, Climb& states,
             const Keep& keep);
  void above(const Prefix& prefix, Climb& states, const Keep& keep);

  // How many prompts of P and R tokens a run takes.
  int64_t prompts_at_once(int64_t past, int64_t rows) const;

  // Losses (L, B) in nats, summed over targets (B, R) with weights (B, R). adapter: (L, n).
  void probe(const Context& context, const float* adapter, int64_t lanes, const int64_t* targets,
             const float* weights, float* losses);

  // Log-probabilities (L, B, C) of candidates at the last position.
  void choose(const Context& context, const float* adapter, int64_t lanes, const Ints& candidates,
              float* log_probs);

  // Logits (V,) behind tokens (T) on top of caches (N, kv, room, d) of `length` valid tokens, and
  // the new keys and values (N, kv, T, d). They lie in the engine until its next call.
  struct Decoded {
    const float* logits;
    const Halves &keys, &values;
  };
  Decoded decode(const Ints& tokens, const Halves& keys, const Halves& values, int64_t room,
                 int64_t length, const float* adapter, Route route);

  Layers& layers() { return layers_; }
  const Bundle& bundle() const { return bundle_; }

 private:
  struct Part {
    int64_t lane, lanes, example, examples;
  };
  const Manifest& manifest() const { return bundle_.manifest; }
  int64_t cache_row() const;  // numbers of a token's keys in a layer: kv d
  Prefilled prefill_part(const Prefix& prefix, const Ints& prompt, const Ints& response,
                         Climb states);
  void prompt_layer(int64_t layer, const Prefix& prefix, Climb& states);
  void response_layer(int64_t layer, const Prefix& prefix, Climb& states);
  void gather(const Context& context, const Part& part, int64_t at);
  const float* adapted(const Context& context, const float* adapter, const Part& part);
  template <class Work>
  void parts(const Context& context, int64_t lanes, Work&& work);
  void score(const Context& context, const Part& part, const float* x, const int64_t* targets,
             const float* weights, float* losses);

  const Bundle& bundle_;
  Layers layers_;
  Floats x_, y_, rows_;
  Halves gathered_[2], sides_[2], new_keys_, new_values_;
  struct Asked {
    int64_t lane, example, row;
  };
  std::vector<Asked> asked_;
  size_t scored_ = 0;  // rows of the head's runs for the prompts that came last
};

// Keys or values (B, T, kv, d) as they are kept: behind `done` others in (B, kv, past, d), float16.
void keep(const float* states, int64_t batch, int64_t tokens, int64_t kv, int64_t dim, int64_t done,
          int64_t past, Half* out);

}  // namespace dsa
