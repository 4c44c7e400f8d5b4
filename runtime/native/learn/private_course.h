// What is settled before the first step of a private fit (runtime/_course.py).
#pragma once

#include "accountant.h"
#include "batches.h"
#include "hyper.h"
#include "records.h"

namespace dsa::learn {

// Bounds what one example may reveal, over all fits of the store. Each example is learned from or
// held out by its id alone, in every fit alike, so what the two parts reveal does not add up.
class PrivateCourse {
 public:
  // ids: of the examples. earlier: fits of the store. Raises Error(privacy) where the guarantee
  // cannot be kept, Broken where it is not known what an earlier fit took.
  PrivateCourse(const std::vector<std::string>& ids, const Hyperparameters& hyper,
                const Privacy& privacy, int64_t steps, const std::vector<Run>& earlier);

  // The privacy that so many steps take, and what is spent with them.
  Spent spent(int64_t steps) const;

  const Split& split() const { return split_; }
  const Hyperparameters& hyper() const { return hyper_; }
  double noise() const { return noise_; }
  double verdict() const { return verdict_; }  // epsilon of the verdict

 private:
  const Privacy privacy_;
  Split split_;
  Hyperparameters hyper_;
  std::vector<Spent> before_;
  double share_, noise_, verdict_;
};

}  // namespace dsa::learn
