// A gate that learns, from the numbers of a journal alone (docs/journal.md).
#pragma once

#include "store.h"

namespace dsa::learn {

// A gate on its way: table = start + amounts (N, F) times directions (F, D + 1), in float32 and one
// operation at a time.
struct LearnedGate {
  Gate start;
  Floats directions, amounts;

  Gate gate() const;
  void write(Gate& to) const;  // in the memory that `to` has

  // Steps by a gradient (N, F), where all of it is finite; pace: of this step.
  void move(const float* gradient, float pace);

 private:
  size_t row() const { return start.width + 1; }
  size_t features() const { return directions.size() / row(); }
};

// What a step at a learning rate takes of the gate's gradient: it falls as the rate does.
float gate_pace(const Hyperparameters& hyper, float rate);

// Float32 numbers, little-endian, as a run's record has directions. Raises Broken.
std::string to_base64(const Floats& numbers);
Floats from_base64(const std::string& text);

// The gate after each number of steps of a fit. begun: the gate of the version that the fit started
// from. journal: of it; where the fit learned its gate, what each step has of it is taken off.
// Raises Broken.
std::vector<std::optional<Gate>> gates_of(const Run& run, const std::optional<Gate>& begun,
                                          const Hyperparameters& hyper, Store& store,
                                          std::vector<Step>& journal,
                                          const std::vector<int64_t>& at);

}  // namespace dsa::learn
