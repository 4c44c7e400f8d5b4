// How much fits: rows and tokens a run of the engine may hold, and bytes of prompt cache.
#pragma once

#include "core/manifest.h"

namespace dsa {

constexpr double kMb = 1 << 20;

// full_head: probes compute logits over the whole vocabulary. longest, tail: tokens of the longest
// prompt, and of the longest response.
struct Work {
  bool full_head;
  int64_t longest = 0, tail = 0;
};

// All in bytes. activations: of a run. context: keys and values that a run may read. cache: of
// prompts, beyond which it goes to a file. probed, prefilled: what a row of a probe and a token of
// a prefill keep alive; key: what each adds for every key it attends to. strict: a bound was set,
// so what cannot fit is an error. disk: bytes that the cache's file may have, negative for any
// number.
struct Chunks {
  int64_t activations, context, cache, probed, prefilled, key;
  bool strict = false;
  int64_t disk = -1;

  // Rows (lanes x examples x R) that one probe may hold when each attends to so many keys.
  int64_t probe_rows(int64_t keys) const;
  // Prompt and response tokens that one prefill may hold.
  int64_t prefill_tokens(int64_t keys) const;

  // Splits what a bound leaves; memory_mb 0 for none. loaded_mb: what the engine will hold. Raises
  // Error(budget) where the work has not what it needs.
  static Chunks plan(const Manifest& manifest, double memory_mb, const Work& work,
                     double loaded_mb);
};

double resident_mb();    // of this process now
double peak_mb();        // and at most so far
void give_back_freed();  // memory that was freed, to the system

// MB that a bound leaves for the base beside the work, before any of it is loaded; 0 without a
// bound.
double room_for_base(const Manifest& manifest, double memory_mb, const Work& work);

}  // namespace dsa
