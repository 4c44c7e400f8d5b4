// What a fit tells: verdict, learning curve, time.
#pragma once

#include <optional>

#include "hyper.h"
#include "privacy.h"
#include "space.h"

namespace dsa::learn {

// One step. loss: mean over lanes and batch, nats. held_out_...: where measured. seconds: since the
// fit began. tokens: response tokens run so far, times lanes.
struct Progress {
  int64_t step;
  double loss, seconds;
  int64_t tokens;
  std::optional<double> held_out_loss, held_out_accuracy;
};

// loss: nats an example over its choices, or nats a token. accuracy: none without choices.
struct Evaluation {
  size_t examples = 0;
  double loss = 0;
  std::optional<double> accuracy;

  // From losses (B,) and right (B,), NaN where there are no choices.
  static Evaluation of(const Floats& losses, const Floats& right);
  static std::optional<double> accuracy_of(const Floats& right);
  std::string json() const;
};

// verdict: `improved` (a new version is active), `no improvement` or `diverged` (the old one is).
// resumed: steps that an interrupted fit had done before. routes: how many prompts each block
// serves; served_examples: the first of them, by their places among those given; evenness: of the
// routes. privacy: what a private fit took; before and after are then noised, the curve has no losses,
// and nothing is told of the routes.
struct Report {
  std::string verdict;
  int64_t version = 0, steps = 0, resumed = 0;
  size_t examples = 0, held_out = 0;
  Evaluation before, after;
  std::optional<Evaluation> calibrated;
  double fit_seconds = 0, prefill_seconds = 0, step_seconds = 0;
  int64_t tokens = 0, adapter_bytes = 0, adapter_size = 0;
  uint64_t seed = 0;
  Hyperparameters hyper;
  std::vector<std::string> notes;
  std::vector<int64_t> routes;
  std::vector<std::vector<size_t>> served_examples;
  std::optional<double> evenness;
  std::optional<Spent> privacy;
  std::vector<Progress> curve;

  std::string json() const;  // with Python's names
};

}  // namespace dsa::learn
