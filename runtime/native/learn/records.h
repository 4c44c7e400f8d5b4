// Rows of the store as values, and as the JSON that is packed into a row's `record`.
//
// All `read...` functions raise Broken for what we do not write.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "space.h"

namespace dsa::learn {

constexpr char kDamaged[] = "damaged";  // the verdict of a row that cannot be read

using Labels = std::vector<std::pair<std::string, double>>;  // choice -> bias in nats

// table: (blocks, width + 1), row i the weights and, last, the bias of block i's score.
// served: how many prompts each block served; may be empty.
struct Gate {
  size_t blocks = 0, width = 0;
  Floats table;
  std::vector<int64_t> served;
};

// numbers: the adapter (n,); or, where `along` is the id of a learned start, its coordinates (M,).
struct Adapter {
  Floats numbers;
  Labels labels;
  std::optional<Gate> gate;
  std::string along;

  // The biases (K,) of these choices; zeros unless all of them are known.
  Floats bias(const std::vector<std::string>& choices) const;
};

// One saved adapter. id 0 is the bundle's initial adapter; created is in Unix seconds.
// summary: JSON. kept: whether its adapter is still there.
struct Version {
  int64_t id = 0;
  std::optional<int64_t> parent;
  std::optional<double> created;
  std::string verdict;
  int64_t steps = 0;
  bool active = false;
  std::string summary = "{}";
  bool kept = true;
};

// One fit: version = adapter of `parent` after the first `kept` steps. hyper, privacy and gate are
// JSON; verdict: none for a fit that was interrupted. examples: ids, 16 hex digits each.
struct Run {
  int64_t id = 0;
  std::optional<int64_t> parent;
  std::optional<uint64_t> seed;
  std::string hyper = "{}";
  std::optional<int64_t> version, kept;
  std::optional<double> created;
  std::optional<std::string> verdict;
  std::vector<std::string> examples;
  std::string privacy = "null";
  std::optional<int64_t> numbers, width;
  std::string gate;  // as `start` and `directions`: empty where there is none
  std::string start, directions;

  bool damaged() const { return verdict == kDamaged; }
};

std::string record_of(const Version& version, const Adapter& adapter);
Version read_version(int64_t row, const std::string& record, std::optional<int64_t> active);
Labels read_labels(const std::string& record);

// The adapter of a version, from its record and its numbers: its own, then the gate's.
Adapter read_adapter(const std::string& record, Floats numbers);
Floats numbers_of(const Adapter& adapter);

// A gate from the rows of its table, and those rows, as a run's record has them.
Gate read_gate(const std::string& json);
std::string rows_of(const Gate& gate);

std::string record_of(const Run& run);
Run read_run(int64_t row, const std::string& record);

// An example that is kept: when it was added, and its content.
std::string record_of_example(double added, const std::string& content);
std::pair<double, std::string> read_example(const std::string& record);

}  // namespace dsa::learn
