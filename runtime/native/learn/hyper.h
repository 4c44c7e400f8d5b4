// What a run is made of, besides its seed and its examples.
#pragma once

#include <cstdint>
#include <string>

namespace dsa::learn {

// The fields, defaults and bounds of runtime/_hyperparameters.py, whose docstring tells what each
// is; the defaults suit choices.
struct Hyperparameters {
  int64_t queries = 8, batch = 16;
  double epsilon = 0.1, rate = 0.01, smoothing = 0.2, beta1 = 0.9, beta2 = 0.99, cooldown = 1.0;
  std::string estimator = "antithetic", optimizer = "adam";
  double share = 0.25;
  std::string mask;
  int64_t rank = 1, refresh = 50;
  double grid = 0.0078125, keep = 1.0;
  int64_t keep_from = 40, keep_until = 140, keep_every = 10;
  std::string slopes = "blocks";
  int64_t along = 0;
  std::string gate = "clusters";
  int64_t draws = 2;
  double gate_rate = 8.0;

  // Raises Error(usage) for values that cannot learn.
  void check() const;

  // Defaults for examples with choices, or for free responses.
  static Hyperparameters suited(bool choices, const std::string& estimator = "antithetic",
                                const std::string& optimizer = "adam", int64_t along = 0);

  // The same with the fields of a JSON object, over what suits its method; steps: of the run, if
  // that is told. Raises Error(usage) for what is no object of fields, or cannot learn.
  Hyperparameters changed(const std::string& json, bool choices, int64_t steps = 0) const;

  // Takes numbers away over the same part of a run of so many steps.
  void within(int64_t steps);

  int64_t lanes() const;        // of a step, with as many numbers as queries
  int64_t usual_steps() const;  // of a fit that is told no number of them
  bool learns_gate() const { return gate != "clusters"; }

  // Learning rate when a share `progress` (0 ... 1) of the run is over.
  double rate_at(double progress) const;

  // The JSON object that a journal has of them. `read` takes older ones too, and raises Broken.
  std::string json() const;
  static Hyperparameters read(const std::string& json);
};

bool operator==(const Hyperparameters& a, const Hyperparameters& b);

}  // namespace dsa::learn
