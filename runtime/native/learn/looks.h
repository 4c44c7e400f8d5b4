// Which of the looks at the held-out examples to keep, and whether it is an improvement.
//
// The best one may owe its loss to luck, and the last one has seen most: the latest that is no
// worse than the best within one standard error is kept (Breiman et al. 1984, section 3.4.3). In
// the first pass every batch is scored before anything was learned from it, so these losses count
// as well (prequential, Dawid 1984); and so does what each other example gains by label biases that
// were fitted without it.
#pragma once

#include "records.h"

namespace dsa::learn {

// losses, right (H,) of the held-out examples at an adapter (n,) after `kept` steps, with the label
// biases (K,) that belong to it.
struct Look {
  Floats losses, right, adapter;
  int64_t kept = 0;
  Floats bias;
  std::optional<Gate> gate;  // where the fit learns it
};

class Looks {
 public:
  // before: with what was active; start: with label biases fitted. levelled: nats that training
  // examples gain by biases of the others. early: losses to make room for.
  Looks(const Look& before, const Look& start, const std::vector<double>& levelled, size_t early);

  // Takes in losses (B,) of a batch that nothing was learned from yet, now and at the start.
  void see(const float* losses, const float* start, size_t count);

  void add(const Look& look);
  int worse() const { return worse_; }  // looks in a row that were clearly worse than the best

  // The look to keep, if it beats both the start and what was there before; else the start, if that
  // beats what was there; else null.
  const Look* verdict() const;

 private:
  Look start_, best_, latest_;
  double biases_gain_;
  std::vector<double> early_, scratch_;
  int worse_ = 0;
};

// In float64.
double mean_of(const Floats& losses);

}  // namespace dsa::learn
