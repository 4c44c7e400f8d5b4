// What is minimized: the loss of every lane on every example of a batch.
#pragma once

#include "engine.h"

namespace dsa::learn {

// start (n,) and directions (M, n) of a learned start, row-major; lanes are then coordinates (M,).
struct Subspace {
  Floats start, directions;

  size_t count() const { return start.empty() ? 0 : directions.size() / start.size(); }

  // theta (n,) of coordinates, to the bit the same everywhere: summed in order.
  void vector(const float* coordinates, size_t count, float* out) const;
};

class Objective {
 public:
  // examples: those that the engine has loaded. size: of a lane. along: for lanes of coordinates.
  // active: blocks that serve an example.
  Objective(Engine& engine, const std::vector<Example>& examples, size_t size,
            const Subspace* along = nullptr, size_t active = 1);

  size_t size() const { return answers.size(); }
  size_t lane_size() const { return lane_size_; }

  // losses (L, B); right (L, B) or null.
  void losses(Some batch, Lanes lanes, float* losses, float* right = nullptr);

  // Scores (L, B, K) of the choices without bias; `kAbsent` of what an example does not offer.
  void scores(Some batch, Lanes lanes, float* scores);

  // Losses from scores (L, B, K), bias applied; right may be null.
  void scored(Some batch, const float* scores, size_t lanes, float* losses, float* right) const;

  int64_t tokens(Some batch) const { return engine_.tokens(batch); }
  const uint8_t* served(Some batch) { return engine_.served(batch); }
  size_t active() const { return active_; }
  size_t sets() const { return sets_.size(); }  // of choices; 0 where there are no biases

  // What a gate reads of prompts, and how it routes them.
  const float* pooled(uint32_t example) const { return engine_.pooled(example); }
  Floats pooled(const std::vector<uint32_t>& some) const;  // (E, D)
  size_t pooled_width() const { return engine_.pooled_width(); }
  void route_by(const Gate& gate) { engine_.route_by(&gate); }
  void route_as(Some batch, const size_t* blocks) { engine_.route_as(batch, blocks); }

  // An adapter's biases (K,) of the choices; zeros of a set that it does not know whole.
  Floats bias_of(const Adapter& adapter) const;

  // K of all examples, where each has some. None without, or where they are too many for biases.
  std::vector<std::string> choices;
  bool all_choices = true;           // whether each example has some
  std::vector<uint32_t> answers;     // index of the right choice
  Floats bias;                       // (K,)

 private:
  // Choices that some examples share, and where each is among all; none where there are no biases.
  struct Set {
    std::vector<std::string> own;
    std::vector<uint32_t> columns;
  };

  Lanes whole(Lanes lanes);
  void gather(const std::vector<Example>& examples);
  void spread(Some batch, size_t lanes, float* scores);

  Engine& engine_;
  size_t lane_size_, active_;
  const Subspace* along_;
  std::vector<Set> sets_;
  std::vector<uint32_t> set_of_;  // each example's
  Floats own_;                    // (K,)
  Floats whole_, scores_;
};

}  // namespace dsa::learn
