// Scalars of a step, from what the engine measured.
#pragma once

#include "estimator.h"

namespace dsa::learn {

// Which of N blocks serve examples: (B, N), or (q, B, N) where pairs of lanes have routes of their
// own, `stride` numbers apart. Null with one block.
struct Served {
  const uint8_t* blocks = nullptr;
  size_t stride = 0;

  Served(const uint8_t* at, size_t apart = 0) : blocks(at), stride(apart) {}
};

class Slopes {
 public:
  // batch: examples of a step at most. choices: K, 0 for none. estimator: must outlive this.
  Slopes(Estimator& estimator, size_t batch, size_t choices);

  // Scalars (width,) from losses (L, B). served: (B, N), where blocks have scalars of their own.
  void from_losses(const float* losses, size_t batch, Served served, float* out);

  // Scalars (width,) from calibrated scores (L, B, K) and the answers (B,): of the loss beside what
  // the label biases explain.
  void from_scores(const float* scores, const uint32_t* answers, size_t batch, Served served,
                   float* out);

 private:
  void changes(const float* scores, const uint32_t* answers, size_t batch, Served served);
  void changes(size_t group, const float* scores, const uint32_t* answers, size_t batch,
               const uint8_t* served);
  bool residuals(size_t group, const float* scores, const uint32_t* answers, size_t batch);
  void centre(size_t batch, const uint8_t* served);
  bool mean_of_alike(size_t example, size_t batch, const uint8_t* served, size_t least);
  void per_block(size_t batch, Served served);

  Estimator& estimator_;
  const size_t choices_, lanes_, directions_, groups_;
  std::vector<uint8_t> finite_;   // (L,)
  std::vector<double> values_;    // (L, B, K)
  std::vector<double> raw_;       // (q, B, K) slopes
  std::vector<double> slopes_;    // (q, B)
  std::vector<double> residual_;  // (B, K)
  std::vector<double> centre_;    // (B, K)
  std::vector<uint8_t> offered_;  // (B, K)
  std::vector<double> own_;       // (2 K,)
  std::vector<double> scalars_;   // (width,)
};

}  // namespace dsa::learn
