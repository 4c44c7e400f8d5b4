// The methods of a bundle over its programs: prefill, probe, choose, decode.
#pragma once

#include "engine/layers.h"

namespace dsa {

class DecoderEngine {
 public:
  DecoderEngine(const Bundle& bundle, int threads, int64_t kept)
      : bundle_(bundle), layers_(bundle, threads, kept) {}

  // Runs the base over prompts (B, P), of which `lengths` (B,) are valid, and responses (B, R).
  Prefilled prefill(const Prefix& prefix, const Ints& prompt, const Ints& response,
                    const Ints& lengths);

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
  Prefilled prefill_part(const Prefix& prefix, const int64_t* prompt, const int64_t* response,
                         const int64_t* lengths, int64_t batch, int64_t past, int64_t rows);
  void prompt_layer(int64_t layer, const Prefix& prefix, int64_t batch, int64_t past, Floats& x,
                    Half* keys, Half* values);
  void gather(const Context& context, const Part& part, int64_t at);
  const float* adapted(const Context& context, const float* adapter, const Part& part);
  template <class Work>
  void parts(const Context& context, int64_t lanes, Work&& work);
  void score(const Context& context, const Part& part, const float* x, const int64_t* targets,
             const float* weights, float* losses);

  const Bundle& bundle_;
  Layers layers_;
  Floats x_, y_, rows_;
  Halves gathered_[2], new_keys_, new_values_;
  struct Asked {
    int64_t lane, example, row;
  };
  std::vector<Asked> asked_;
};

// Keys or values (B, T, kv, d) as they are kept: behind `done` others in (B, kv, past, d), float16.
void keep(const float* states, int64_t batch, int64_t tokens, int64_t kv, int64_t dim, int64_t done,
          int64_t past, Half* out);

}  // namespace dsa
