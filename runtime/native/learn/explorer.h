// How the gate of a fit learns, from lanes that are run anyway (runtime/_explorer.py).
//
// The pairs of a step fall into a few groups, and in each every example has a route of its own that
// is drawn from the gate's policy. The mean loss over a group's lanes is what its route cost.
#pragma once

#include "learned_gate.h"
#include "objective.h"
#include "policy.h"
#include "slopes.h"

namespace dsa::learn {

class Explorer {
 public:
  // gate: to start from. train: of the objective's examples, those that are learned from.
  Explorer(Objective& objective, const std::vector<uint32_t>& train, const Gate& gate,
           const Hyperparameters& hyper, uint64_t seed);

  const Gate& gate();  // as it is now
  const Floats& directions() const { return learned_.directions; }
  size_t width() const { return learned_.amounts.size(); }  // numbers of a step's journal

  // Draws the routes of a step.
  void draw(Some batch, uint64_t step);

  // Sends the batch of the last draw through the routes of the group that a lane belongs to, and
  // returns the first lane behind that group.
  size_t route(size_t lane);

  // Which blocks served each example in each pair of the step, (q, B, N).
  Served served() const { return {served_.data(), batch_.size() * blocks_}; }

  // Whether every route drawn for an example is the one that it has without chance.
  bool usual(size_t example);

  // The gate's part of a step's journal (width,), of the losses (L, B) of all lanes.
  void scalars(const float* losses, float* out);

  // Steps by what `scalars` found, at a step's learning rate.
  void move(const float* gradient, float rate);

  // Routes all examples by the gate as it is now.
  void settle() { objective_.route_by(gate()); }

 private:
  Objective& objective_;
  const Hyperparameters hyper_;
  const uint64_t seed_;
  const size_t blocks_, active_, draws_;
  double heat_ = 1;
  Doubles features_;  // (E, F)
  LearnedGate learned_;
  std::vector<uint32_t> batch_;
  Doubles scores_;              // (B, N)
  std::vector<size_t> routes_;  // (G, B, k), in the order of drawing
  std::vector<uint8_t> served_;

  Gate now_;
  Pull pull_;
  Doubles terms_, keys_, rewards_;
  std::vector<size_t> order_, drawn_;
};

}  // namespace dsa::learn
