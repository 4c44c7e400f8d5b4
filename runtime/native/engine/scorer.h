// Losses and scores of lanes over examples, for learning and for measuring.
//
// Choices that are single tokens need only the candidates' rows of the head; choices of several
// tokens are scored as sequences; free responses give nats a token.
#pragma once

#include <memory>

#include "engine/prompt_cache.h"
#include "learn/engine.h"

namespace dsa {

struct ScorerOptions {
  double memory_mb = 0;  // peak of the process; 0 for no bound
  std::string folder;    // of the store, for prompts that memory has no room for
  bool sealed = false;
  bool timed = false;   // look at the clock between groups of prompts
  bool learns = false;  // probes follow, and nothing that needs the layers below the split
};

class Scorer : public learn::Engine {
 public:
  Scorer(DecoderEngine& engine, const Encoder& encoder, ScorerOptions options)
      : engine_(engine), encoder_(encoder), options_(std::move(options)) {}

  size_t load(const std::vector<Example>& examples,
              const learn::OnPrefill& on_prefill) override;
  size_t load(std::vector<Encoded> encoded, const learn::OnPrefill& on_prefill);
  void route_by(const learn::Gate* gate) override;
  void route_as(learn::Some batch, const size_t* blocks) override;
  const float* pooled(uint32_t example) const override;
  size_t pooled_width() const override;
  void probe(learn::Some batch, learn::Lanes lanes, float* losses, float* right) override;
  void choose(learn::Some batch, learn::Lanes lanes, size_t width, float* scores) override;
  int64_t tokens(learn::Some batch) const override;
  const uint8_t* served(learn::Some batch) override;

  // Scores of one example's choices (K,), up to a constant.
  void choices(uint32_t example, const float* adapter, float* scores);
  const Encoded& example(size_t at) const { return encoded_[at]; }

  static int64_t cache_bytes(const Manifest& manifest, const std::vector<Encoded>& encoded);
  static Work work_of(const std::vector<Encoded>& encoded);

 private:
  struct Slice {
    size_t from, to;
  };
  const Manifest& manifest() const { return engine_.bundle().manifest; }
  void measure();
  void reserve(size_t examples, size_t lanes);
  void cut(learn::Some batch);
  void raw(learn::Some batch, learn::Lanes lanes);
  void tokens_of(learn::Some batch, const std::vector<size_t>& at, learn::Lanes lanes);
  void sequences_of(learn::Some batch, const std::vector<size_t>& at, learn::Lanes lanes);
  size_t lanes_at_once(const Context& context) const;
  float* scores(size_t at) { return scores_.data() + places_[at]; }
  size_t count(uint32_t example) const;

  DecoderEngine& engine_;
  const Encoder& encoder_;
  const ScorerOptions options_;
  std::vector<Encoded> encoded_;
  std::vector<size_t> first_;                                // item of each example
  size_t most_items_ = 0, most_scores_ = 0, most_rows_ = 0;  // of any example
  std::unique_ptr<PromptCache> cache_;
  Chunks chunks_{};
  Ints candidates_;

  std::vector<Slice> slices_;
  std::vector<size_t> single_, several_, items_, places_;
  Floats scores_, found_, weights_;
  Ints targets_;
  std::vector<uint8_t> served_;
};

}  // namespace dsa
