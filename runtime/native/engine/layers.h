// The chain of layer programs, and the head.
#pragma once

#include <algorithm>
#include <map>
#include <memory>

#include "core/bundle.h"
#include "engine/arrays.h"
#include "engine/blocks.h"
#include "engine/chunks.h"
#include "engine/ends.h"
#include "engine/program.h"

namespace dsa {

// One layer over x (L, B, T, D), on top of a prefix (kv, X, d) and caches (B, kv, P, d) of which
// `lengths` (B,) are valid. slots: the layer's part of adapters (L, n), null for none.
struct LayerCall {
  int64_t lanes, batch, tokens;
  const float* x;
  const Half *prefix_keys, *prefix_values;
  int64_t prefix;
  const Half *keys, *values;
  int64_t past;
  const int64_t* lengths;
  const float* slots;
  Route route;
};

// x (L, B, T, D), and the new keys and values (L, B, T, kv, d); valid until the layer after next.
struct LayerOutput {
  const float *x, *keys, *values;
};

// SmolLM2-135M takes as long with 512 and 64, and 20 MB more.
constexpr int64_t kMostRows = 256, kMostHeadRows = 32;

class Layers {
 public:
  // kept: layer programs that stay loaded at most. Raises Error(bundle) without programs, and
  // Error(engine) where an operator is missing.
  Layers(const Bundle& bundle, int threads, int64_t kept);

  LayerOutput run(int64_t layer, const LayerCall& call);

  // Logits (rows, V) of hidden states (rows, D), at most `head_rows()` of them.
  const float* logits(const float* x, int64_t rows);

  Ends& ends() { return ends_; }
  const Programs& info() const { return info_; }
  int threads() const { return threads_; }
  // Rows of a run, and of the head's: fewer than the programs take, for memory's sake.
  int64_t rows() const { return std::min(info_.rows, kMostRows); }
  int64_t head_rows() const { return std::min(info_.head_rows, kMostHeadRows); }

  // Frees those programs that only prefill and decode need, or all.
  void release_lower();
  void release_all();

  // Until hold_all, no more layers stay loaded than lie below the split; frees those above.
  void hold_lower();
  void hold_all() { held_ = kept_; }
  void load_head();

  double loaded_mb() const;  // of programs, weights and their memory, once loaded
  int64_t from_storage() const;

  // Frees what is loaded of the base, which would count twice, and holds no more of it than a bound
  // on the process leaves room for beside the work, at least one layer. 0 is no bound, and frees
  // nothing. Raises Error(budget).
  Chunks bound(double memory_mb, const Work& work);

 private:
  Program& program(int64_t layer);
  void angles(int64_t frame, const LayerCall& call);
  void positions(const LayerCall& call);
  std::pair<double, double> held_mb() const;
  void keep_within(double mb);
  void release(int64_t from, int64_t to);
  void shrink(int64_t count);

  const Bundle& bundle_;
  const Manifest& manifest_;
  const Programs& info_;
  Ends ends_;
  Blocks blocks_;
  Loader loader_;
  int threads_;
  int64_t most_, kept_, held_;  // held_: of the kept ones, now
  std::map<int64_t, std::unique_ptr<Program>> programs_;
  std::vector<int64_t> loaded_;  // in the order in which they were loaded
  std::unique_ptr<Program> head_;

  struct Angles {
    Ints positions;  // that the tables are of
    Floats cosine, sine;
  };
  std::map<int64_t, Angles> angles_;  // by frame
  Ints wanted_, first_index_;
  Floats first_weight_;
  std::vector<uint8_t> active_;
  std::vector<Array> inputs_;
};

}  // namespace dsa
