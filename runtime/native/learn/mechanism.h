// Clipping and noise, with the arithmetic of runtime/_privacy.py, which has the reasons.
#pragma once

#include <optional>
#include <vector>

#include "crypto.h"
#include "space.h"

namespace dsa::learn {

// Random numbers as Python's random.SystemRandom makes them of the system's bytes.
class Source {
 public:
  virtual ~Source() = default;

  double uniform();                // in [0, 1)
  double gaussian(double spread);  // of mean 0 (Box and Muller, two at a time)
  double laplace(double scale);

 protected:
  virtual void fill(uint8_t* out, size_t count) = 0;

 private:
  std::optional<double> other_;
};

// From the operating system; never from the journal's seed.
class SystemSource : public Source {
 protected:
  void fill(uint8_t* out, size_t count) override;

 private:
  Bytes bytes_;  // those that are left of what the system gave
};

// Clips, sums and noises what the examples of one step say.
// noise: of the whole step over its sensitivity. expected: examples a step on average. bound: at
// which the norm of an example's slopes is clipped; it follows a quantile of them.
class Mechanism {
 public:
  Mechanism(double noise, int64_t expected, Source& source)
      : noise_(noise), expected_(static_cast<double>(expected)), source_(source) {}

  // Places of the examples of a step: each by chance, on its own (Poisson sampling).
  std::vector<uint32_t> sample(size_t count);

  // The mean (K,) of residuals (B, K), each of norm 1 at most.
  std::vector<double> centre(const std::vector<double>& residuals, size_t choices);

  // The mean (q,) of slopes (q, B). centred: the same step also releases a `centre`.
  void slopes(const std::vector<double>& slopes, size_t queries, bool centred, float* mean);

  double bound() const { return bound_; }
  Source& source() { return source_; }

 private:
  void follow(double inside, double spread);

  const double noise_, expected_;
  double bound_ = 1;
  Source& source_;
};

// The sum of values, clipped to +- bound, with Laplace noise of that scale (Dwork et al. 2006).
double noisy_sum(std::vector<double> values, double bound, double scale, Source& source);

}  // namespace dsa::learn
