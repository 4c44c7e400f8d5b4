// Long prompts, part by part: as many tokens at a time as memory allows, on top of those before.
#pragma once

#include "engine/chunks.h"
#include "engine/decoder.h"

namespace dsa {

// Keys and values (N, kv, room, d) of one text, with room to grow.
// pooled: (D,) mean of its tokens' hidden states at the split layer; empty for none.
struct Cache {
  Cache(const Prefix& done, int64_t room, const Manifest& manifest);

  // Takes in keys and values (N, kv, tokens, d) of the next tokens. mean: of their hidden states,
  // null when no gate will ask any more.
  void append(const Halves& keys, const Halves& values, int64_t tokens, const float* mean);
  Prefix prefix() const;  // a copy of all that is in it

  int64_t length, room;
  Halves keys, values;
  Floats pooled;

 private:
  Halves resized(const Halves& from, int64_t had, int64_t to) const;
  int64_t rows_, dim_, width_;
};

// Mean hidden states (D,) from the means of the first `length` and of the `more` next tokens; the
// first token of a text is in no mean.
void add_mean(Floats& before, int64_t length, const float* after, int64_t more, int64_t width);

// Runs the base over a prompt's tokens behind those that are done, at least one of them.
// tail (R,): what follows. Returns the cache, and the tail's hidden states (R, D) in `hidden`.
Cache run_prompt(DecoderEngine& engine, const Prefix& done, const Ints& tokens, const Ints& tail,
                 const Chunks& chunks, int64_t room, Floats* hidden);

}  // namespace dsa
