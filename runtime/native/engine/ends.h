// The ends of a model beside the programs: embedding, angles, and logits of some tokens alone.
#pragma once

#include "core/bundle.h"
#include "core/safetensors.h"
#include "engine/arrays.h"

namespace dsa {

class Ends {
 public:
  explicit Ends(const Bundle& bundle);  // raises Error(bundle)

  // Hidden states at the bottom, (count, D).
  void embed(const int64_t* ids, size_t count, float* out);

  int64_t rotated(int64_t frame) const;  // numbers of an angle table's row

  // Cosine and sine (rotated,) of a frame at one position.
  void angles(int64_t frame, int64_t position, float* cosine, float* sine) const;

  // Log-probabilities (C,) among some tokens, of a hidden state (D,) at the top.
  void log_probs(const float* x, const Ints& candidates, float* out);

 private:
  struct Table {
    Mapped file;
    const int8_t* rows;
  };
  Table table(const TableEntry& entry) const;
  const TensorView& frequencies(int64_t frame) const;
  double logit(const double* normal, int64_t id) const;

  const Bundle& bundle_;
  Safetensors small_;
  Spots embedding_;
  Table head_;
  const float *embedding_scales_, *head_scales_, *final_norm_;
  std::vector<int8_t> row_;
  std::vector<double> normal_;
};

// Log of the sum of exponentials, in float64: single precision differs between libraries.
float log_sum_exp(const float* numbers, size_t count);

}  // namespace dsa
