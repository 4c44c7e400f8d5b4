// How much noise an (epsilon, delta) needs, and how much of it several fits have spent.
//
// By Renyi divergences, which are a valid upper bound at every order: of the sampled Gaussian
// mechanism (Mironov, Talwar and Zhang 2019, 1908.10530, section 3.3, integer orders), for one
// example added or removed, and from them to epsilon (Canonne, Kamath and Steinke 2020, 2004.00010,
// proposition 12). Python's accountant of privacy-loss distributions is tighter: what is asked for
// here costs 5 to 20 % more noise than there, and is kept by its count as well.
#pragma once

#include <vector>

#include "privacy.h"

namespace dsa::learn {

class Accountant {
 public:
  Accountant();
  explicit Accountant(const std::vector<Spent>& fits);

  void add(double noise, double share, int64_t steps);
  double epsilon(double delta) const;  // at least 0; of all that was added

 private:
  std::vector<double> divergences_;  // at each of the orders
};

// The least noise at which all fits, this one of `steps` steps among them, stay within epsilon.
// share: of the examples, in each step on average. before: what earlier fits of the store took.
// Raises Error(privacy) where no noise is enough.
double noise_for(const Privacy& privacy, double share, int64_t steps,
                 const std::vector<Spent>& before);

// epsilon at delta of all these fits together; 0 for none.
double spent(const std::vector<Spent>& fits, double delta);

// What verdicts have taken, which add up.
double of_verdicts(const std::vector<Spent>& fits);

}  // namespace dsa::learn
