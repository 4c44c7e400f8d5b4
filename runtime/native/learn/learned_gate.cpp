#include "learned_gate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace dsa::learn {
namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The gate that a fit used, if its version, or what was kept of the fit, still has it.
std::optional<Gate> used(const Run& run, const std::optional<Gate>& begun, Store& store) {
  for (const Version& version : store.versions())
    if (run.version == version.id && version.kept) return store.adapter(version.id).gate;
  return run.gate.empty() ? begun : read_gate(run.gate);
}

}  // namespace

std::string to_base64(const Floats& numbers) {
  std::string made;
  uint32_t bits = 0, count = 0;
  for (const float number : numbers) {
    uint32_t raw;
    std::memcpy(&raw, &number, sizeof raw);
    for (int byte = 0; byte < 4; ++byte) {
      bits = bits << 8 | (raw >> 8 * byte & 0xff), count += 8;
      for (; count >= 6; count -= 6) made += kDigits[bits >> (count - 6) & 63];
    }
  }
  if (count) made += kDigits[bits << (6 - count) & 63];
  while (made.size() % 4) made += '=';
  return made;
}

Floats from_base64(const std::string& text) {
  const std::string digits = kDigits;
  Bytes bytes;
  uint32_t bits = 0, count = 0;
  for (const char digit : text.substr(0, text.find('='))) {
    const size_t value = digits.find(digit);
    if (value == digits.npos) throw Broken("directions of a gate are no base64");
    bits = bits << 6 | static_cast<uint32_t>(value), count += 6;
    if (count >= 8) bytes.push_back(static_cast<uint8_t>(bits >> (count -= 8)));
  }
  Floats numbers(bytes.size() / 4);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const uint32_t raw = bytes[4 * i] | bytes[4 * i + 1] << 8 | bytes[4 * i + 2] << 16 |
                         static_cast<uint32_t>(bytes[4 * i + 3]) << 24;
    std::memcpy(&numbers[i], &raw, sizeof raw);
  }
  return numbers;
}

void LearnedGate::move(const float* gradient, float pace) {
  const auto finite = [](float g) { return std::isfinite(g); };
  if (!std::all_of(gradient, gradient + amounts.size(), finite)) return;
  for (size_t i = 0; i < amounts.size(); ++i) amounts[i] -= pace * gradient[i];
}

Gate LearnedGate::gate() const {
  Gate made;
  write(made);
  return made;
}

void LearnedGate::write(Gate& to) const {
  to.blocks = start.blocks, to.width = start.width, to.table = start.table;
  to.served.clear();
  for (size_t f = 0; f < features(); ++f)
    for (size_t i = 0; i < to.table.size(); ++i)
      to.table[i] += amounts[i / row() * features() + f] * directions[f * row() + i % row()];
}

float gate_pace(const Hyperparameters& hyper, float rate) {
  return static_cast<float>(hyper.gate_rate * (static_cast<double>(rate) / hyper.rate));
}

std::vector<std::optional<Gate>> gates_of(const Run& run, const std::optional<Gate>& begun,
                                          const Hyperparameters& hyper, Store& store,
                                          std::vector<Step>& journal,
                                          const std::vector<int64_t>& at) {
  const std::optional<Gate> first = run.gate.empty() ? begun : read_gate(run.gate);
  if (run.directions.empty() || !first)
    return std::vector<std::optional<Gate>>(at.size(), used(run, begun, store));
  LearnedGate moving{*first, from_base64(run.directions), {}};
  moving.amounts.resize(first->blocks * (moving.directions.size() / (first->width + 1)));
  std::vector<std::optional<Gate>> gates(at.size(), moving.gate());
  for (size_t step = 0; step < journal.size(); ++step) {
    Floats& scalars = journal[step].scalars;
    if (scalars.size() < moving.amounts.size()) throw Broken("a step has too little of a gate");
    const size_t own = scalars.size() - moving.amounts.size();
    moving.move(scalars.data() + own, gate_pace(hyper, journal[step].rate));
    scalars.resize(own);
    for (size_t i = 0; i < at.size(); ++i)
      if (at[i] > static_cast<int64_t>(step)) gates[i] = moving.gate();
  }
  return gates;
}

}  // namespace dsa::learn
