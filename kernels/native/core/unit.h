// Which rows a unit of work has, and which of them a block acts on.
#pragma once

#include <cstdint>
#include <cstring>

#include "gated_lowrank.h"

namespace dsa {
// One copy for each instruction set: the linker must never put one machine's into another's code.
namespace {

using Half = uint16_t;  // float16 as stored

constexpr int64_t kUnitRows = 48;  // a multiple of every tile; their pointers lie on the stack

// Rows that one block acts on: where each is read, what it is added to, and its route weight.
struct Rows {
  int64_t count = 0;
  const float* x[kUnitRows];
  const float* from[kUnitRows];
  float* to[kUnitRows];
  float weight[kUnitRows];
};

// Rows [first, last) of the B · T rows of one lane.
class Unit {
 public:
  Unit(const GatedLowrank& call, int64_t index) : call_(call) {
    const int64_t a_lane = units_a_lane(call);
    lane = index / a_lane;
    first_ = index % a_lane * kUnitRows;
    const int64_t end = call.batch * call.length;
    last_ = first_ + kUnitRows < end ? first_ + kUnitRows : end;
  }

  static int64_t units_a_lane(const GatedLowrank& call) {
    return (call.batch * call.length + kUnitRows - 1) / kUnitRows;
  }

  // Rows that no block acts on are the base's.
  void copy_untouched() const {
    for (int64_t row = first_; row < last_; ++row)
      if ((!call_.active[row] || call_.chosen == 0) && to(row) != from(row))
        std::memcpy(to(row), from(row), call_.n_out * sizeof(float));
  }

  Rows rows_of(int64_t block) const {
    Rows rows;
    for (int64_t row = first_; row < last_; ++row) {
      if (!call_.active[row]) continue;
      const int64_t* route = call_.route_index + row / call_.length * call_.chosen;
      const float* weights = call_.route_weight + row / call_.length * call_.chosen;
      bool chosen = false, earlier = false;
      float weight = 0;
      for (int64_t k = 0; k < call_.chosen; ++k) {
        earlier |= route[k] < block;
        if (route[k] != block) continue;
        chosen = true;
        weight += weights[k];
      }
      if (!chosen) continue;
      rows.x[rows.count] = at(call_.x, call_.x_strides, row);
      rows.from[rows.count] = earlier ? to(row) : from(row);
      rows.to[rows.count] = to(row);
      rows.weight[rows.count++] = weight;
    }
    return rows;
  }

  int64_t lane;

 private:
  const float* at(const float* data, const int64_t* strides, int64_t row) const {
    return data + lane * strides[0] + row / call_.length * strides[1] +
           row % call_.length * strides[2];
  }
  const float* from(int64_t row) const { return at(call_.base, call_.base_strides, row); }
  float* to(int64_t row) const {
    return call_.y + (lane * call_.batch * call_.length + row) * call_.n_out;
  }

  const GatedLowrank& call_;
  int64_t first_, last_;
};

}  // namespace
}  // namespace dsa
