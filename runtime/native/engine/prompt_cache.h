// Prompt caches: what the base makes of each prompt, computed once and reused by every probe.
//
// What all prompts begin with is run and kept once. Beyond a bound the rest lies in a file that is
// unlinked as soon as it exists, so that no prompt outlives the process.
#pragma once

#include "core/encoder.h"
#include "engine/prompts.h"
#include "learn/engine.h"
#include "learn/policy.h"

namespace dsa {

// Bytes in memory, or in an unlinked file of a folder. Raises Error(budget) without room.
class Storage {
 public:
  Storage() = default;
  Storage(size_t bytes, const std::string* folder);
  Storage(Storage&& other) noexcept;
  Storage& operator=(Storage&& other) noexcept;
  ~Storage();
  uint8_t* data() const { return data_; }
  void drop_pages() const;  // of a file: they count as our memory until they are dropped

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  bool file_ = false;
};

struct CacheOptions {
  Chunks chunks;
  std::string folder;      // for what memory has no room for; empty takes the system's
  bool sealed = false;     // no prompt may be written to a file
  size_t group = 0;        // items between two looks at the clock; 0 takes all as one group
  bool halves = false;     // layers below the split are freed once all prompts are through them
  bool full_head = false;  // probes follow that need it: load it while memory has most room
  // With how many more are done, and the seconds that the upper layers will take for those that
  // are through the lower ones; false when there is no time for others.
  learn::OnPrefill on_items;
};

class PromptCache {
 public:
  // items must outlive it. Raises Error(budget).
  PromptCache(DecoderEngine& engine, const std::vector<const Item*>& items, CacheOptions options);

  size_t ready() const { return ready_; }  // items that are cached, the first so many

  void reserve(size_t count);  // so that batches of so many allocate nothing

  // A padded batch of items. Valid until the next call.
  const Context& context(const std::vector<size_t>& items);

  void route_by(const learn::Gate* gate);
  void route_as(size_t item, const size_t* blocks);  // (K,), until a gate routes all again
  const float* pooled(size_t item) const;            // (D,), null with one block
  const int64_t* route(size_t item) const;           // (K,) blocks of an item, null without a gate

  int64_t padded_bytes(int64_t count, int64_t prompt) const;

  static int64_t bytes_of(const Manifest& manifest, const std::vector<const Item*>& items);

 private:
  using Batch = std::vector<size_t>;
  struct Group {
    size_t end;  // its items are those from the end of the group before
    std::vector<Batch> batches;
  };
  int64_t own(size_t item) const;     // tokens of its prompt behind the shared ones
  int64_t tail(size_t item) const;    // tokens of its response
  int64_t tokens(size_t item) const;  // that a prefill runs
  int64_t room(size_t item) const;
  bool in_parts(size_t item) const;
  float* hidden(size_t item) const;  // what is stored: (R, D)
  Half* caches(size_t item) const;   // and behind it keys, then values, (A, kv, own, d)
  std::vector<Batch> batches(size_t from, size_t to) const;
  std::vector<Group> climb_lower();
  void climb_upper(const std::vector<Group>& groups);
  void told(size_t more);
  bool time_left(double ahead) const;
  Climb climb(const Batch& batch) const;
  double lower(const Batch& batch);
  void upper(const Batch& batch);
  void pool(size_t item, const float* mean);
  void prefill_parts(size_t item);
  void keep(size_t item, int64_t layer, const Half* keys, const Half* values, int64_t past,
            int64_t skip);

  DecoderEngine& engine_;
  const Manifest& manifest_;
  const std::vector<const Item*> items_;
  const CacheOptions options_;
  Prefix prefix_;
  Storage storage_;
  std::vector<size_t> offsets_;
  size_t ready_ = 0, reserved_ = 0;
  int64_t most_rows_ = 0, most_past_ = 0, row_;  // row_: numbers of a token's keys in a layer
  Floats pooled_;                                // (items, D) where a gate will read them
  Ints routes_, alike_;
  learn::Ranking ranking_;

  Context context_{};
  Floats hidden_, weights_;
  std::vector<const Half*> kept_;
  Ints lengths_, index_;
};

}  // namespace dsa
