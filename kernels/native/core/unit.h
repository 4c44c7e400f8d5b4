// Which rows a unit of work has, and which of them a block acts on.
#pragma once

#include <cstdint>
#include <cstring>

#include "gated_lowrank.h"

namespace dsa {
// One copy for each instruction set: the linker must never put one machine's into another's code.
namespace {

using Half = uint16_t;  // float16 as stored

constexpr int64_t kUnitRows = 96;  // at most; their pointers lie on the stack
constexpr int64_t kUnits = 16;     // enough for the cores of a phone, where there are rows for them

// Rows that one block acts on: where each is read, what it is added to, its core and route weight.
struct Rows {
  int64_t count = 0;
  const float* x[kUnitRows];
  const float* from[kUnitRows];
  float* to[kUnitRows];
  int64_t core[kUnitRows];  // its lane, or where each example has its own, lane · B + example
  float weight[kUnitRows];
};

// Some of the L · B · T rows, whatever their lanes: a block then has enough of them to share loads.
class Unit {
 public:
  Unit(const GatedLowrank& call, int64_t index) : call_(call), per_lane_(call.batch * call.length) {
    const int64_t size = unit_rows(call), end = call.lanes * per_lane_;
    first_ = index * size;
    last_ = first_ + size < end ? first_ + size : end;
  }

  static int64_t count(const GatedLowrank& call) {
    const int64_t size = unit_rows(call);
    return (call.lanes * call.batch * call.length + size - 1) / size;
  }

  // Rows that no block acts on are the base's.
  void copy_untouched() const {
    for (int64_t row = first_; row < last_; ++row)
      if ((!call_.active[row % per_lane_] || call_.chosen == 0) && to(row) != from(row))
        std::memcpy(to(row), from(row), call_.n_out * sizeof(float));
  }

  Rows rows_of(int64_t block) const {
    Rows rows;
    for (int64_t row = first_; row < last_; ++row) {
      if (!call_.active[row % per_lane_]) continue;
      const int64_t example = row % per_lane_ / call_.length;
      const int64_t* route = call_.route_index + example * call_.chosen;
      const float* weights = call_.route_weight + example * call_.chosen;
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
      rows.core[rows.count] = row / (call_.each ? call_.length : per_lane_);
      rows.weight[rows.count++] = weight;
    }
    return rows;
  }

 private:
  static int64_t unit_rows(const GatedLowrank& call) {
    if (call.blocks > 1) return kUnitRows;  // each block has only some of them
    const int64_t share = (call.lanes * call.batch * call.length + kUnits - 1) / kUnits;
    const int64_t least = 24;
    return share < least ? least : share > kUnitRows ? kUnitRows : share;
  }

  const float* at(const float* data, const int64_t* strides, int64_t row) const {
    return data + row / per_lane_ * strides[0] + row % per_lane_ / call_.length * strides[1] +
           row % call_.length * strides[2];
  }
  const float* from(int64_t row) const { return at(call_.base, call_.base_strides, row); }
  float* to(int64_t row) const { return call_.y + row * call_.n_out; }

  const GatedLowrank& call_;
  int64_t per_lane_, first_, last_;
};

}  // namespace
}  // namespace dsa
