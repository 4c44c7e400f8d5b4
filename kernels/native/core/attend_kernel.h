// Attention for one instruction set: included by isa_*.cpp after kernel.h, which has `Vec`.
//
// A unit is up to kAttendRows rows (lane, token, head of a group) that share one example's keys and
// values. Keys are taken kKeys at a time, with running maxima and sums (the online softmax of
// 2205.14135), so that scratch does not grow with the prompt.

#include <cmath>
#include <cstring>
#include <limits>

#include "attend.h"

namespace dsa {
namespace {

constexpr int64_t kKeys = 32;

inline float to_float(float value) { return value; }
inline float to_float(Half value) {
  float wide[kCols];
  Half narrow[kCols] = {value};
  Vec::load(narrow).store(wide);
  return wide[0];
}

// c (kRows, n) += a (kRows, k) · b (k, n); n is a whole number of tiles.
template <int kRows, class F>
void add_product(const float* a, int64_t a_stride, const F* b, int64_t b_stride, int64_t k,
                 int64_t n, float* c, int64_t c_stride) {
  for (int64_t o = 0; o < n; o += kCols) {
    Vec sum[kRows][kVectors];
    for (int m = 0; m < kRows; ++m)
      for (int j = 0; j < kVectors; ++j) sum[m][j] = Vec::load(c + m * c_stride + o + j * kW);
    for (int64_t i = 0; i < k; ++i) {
      Vec columns[kVectors];
      for (int j = 0; j < kVectors; ++j) columns[j] = Vec::load(b + i * b_stride + o + j * kW);
      for (int m = 0; m < kRows; ++m) {
        const Vec value = Vec::all(a[m * a_stride + i]);
        for (int j = 0; j < kVectors; ++j) sum[m][j].add_product(value, columns[j]);
      }
    }
    for (int m = 0; m < kRows; ++m)
      for (int j = 0; j < kVectors; ++j) sum[m][j].store(c + m * c_stride + o + j * kW);
  }
}

template <int kRows, class F>
void add_products(int64_t rows, const float* a, int64_t a_stride, const F* b, int64_t b_stride,
                  int64_t k, int64_t n, float* c, int64_t c_stride) {
  for (; rows >= kRows; rows -= kRows, a += kRows * a_stride, c += kRows * c_stride)
    add_product<kRows>(a, a_stride, b, b_stride, k, n, c, c_stride);
  if constexpr (kRows > 1)
    add_products<kRows - 1>(rows, a, a_stride, b, b_stride, k, n, c, c_stride);
}

constexpr int64_t whole(int64_t count) { return (count + kCols - 1) / kCols * kCols; }

// Rotate one head: the first half of the rotated numbers against the second (methods: RoPE).
inline void rotate(const float* from, const float* cos, const float* sin, int64_t rotated,
                   int64_t dim, float scale, float* to) {
  const int64_t half = rotated / 2;
  for (int64_t i = 0; i < half; ++i) {
    to[i] = scale * (from[i] * cos[i] - from[i + half] * sin[i]);
    to[i + half] = scale * (from[i + half] * cos[i + half] + from[i] * sin[i + half]);
  }
  for (int64_t i = rotated; i < dim; ++i) to[i] = scale * from[i];
}

class AttendUnit {
 public:
  AttendUnit(const Attend& call, int64_t index) : call_(call), group_(call.heads / call.kv_heads) {
    const int64_t rows = call.lanes * call.length * group_;
    const int64_t parts = (rows + kAttendRows - 1) / kAttendRows;
    first_ = index % parts * kAttendRows;
    rows_ = rows - first_ < kAttendRows ? rows - first_ : kAttendRows;
    kv_ = index / parts % call.kv_heads;
    example_ = index / parts / call.kv_heads;
    width_ = whole(call.dim);
  }

  void run() {
    for (int64_t row = 0; row < rows_; ++row) begin(row);
    const int64_t dim = call_.dim, length = call_.lengths[example_];
    see(0, rows_, call_.prefix_keys + kv_ * call_.prefix * dim,
        call_.prefix_values + kv_ * call_.prefix * dim, dim, call_.prefix, 0, false);
    const int64_t at = (example_ * call_.kv_heads + kv_) * call_.past * dim;
    see(0, rows_, call_.keys + at, call_.values + at, dim, length, call_.prefix, false);
    const int64_t a_lane = call_.length * group_;
    for (int64_t row = 0; row < rows_;) {  // every lane has new tokens of its own
      const int64_t lane = (first_ + row) / a_lane;
      const int64_t end = (lane + 1) * a_lane - first_ < rows_ ? (lane + 1) * a_lane - first_ : rows_;
      const int64_t own =
          ((lane * call_.batch + example_) * call_.length * call_.kv_heads + kv_) * dim;
      see(row, end, call_.new_keys + own, call_.v + own, call_.kv_heads * dim, call_.length,
          call_.prefix + length, true);
      row = end;
    }
    for (int64_t row = 0; row < rows_; ++row) finish(row);
  }

 private:
  int64_t token(int64_t row) const { return (first_ + row) / group_ % call_.length; }
  int64_t position(int64_t row) const {
    return call_.prefix + call_.lengths[example_] + token(row);
  }

  // Offset of a row's query and result, in heads.
  int64_t head(int64_t row) const {
    const int64_t global = first_ + row, lane = global / group_ / call_.length;
    return ((lane * call_.batch + example_) * call_.length + token(row)) * call_.heads +
           kv_ * group_ + global % group_;
  }

  void begin(int64_t row) {
    const int64_t angle = (example_ * call_.length + token(row)) * call_.rotated;
    rotate(call_.q + head(row) * call_.dim, call_.cos + angle, call_.sin + angle, call_.rotated,
           call_.dim, call_.scale, query_ + row * width_);
    std::memset(sum_ + row * width_, 0, width_ * sizeof(float));
    highest_[row] = -std::numeric_limits<float>::infinity();
    total_[row] = 0;
  }

  // Rows [from, to) see `count` keys, the first at `start`; of their own only those up to them.
  template <class F>
  void see(int64_t from, int64_t to, const F* keys, const F* values, int64_t stride, int64_t count,
           int64_t start, bool own) {
    for (int64_t key = 0; key < count; key += kKeys) {
      const int64_t some = count - key < kKeys ? count - key : kKeys;
      float across[kMaxHeadDim * kKeys], along[kKeys * kMaxHeadDim];
      gather(keys + key * stride, values + key * stride, stride, some, across, along);
      float scores[kAttendRows * kKeys] = {};
      add_products<kTile>(to - from, query_ + from * width_, width_, across, kKeys, call_.dim,
                          kKeys, scores, kKeys);
      for (int64_t row = from; row < to; ++row)
        weigh(row, scores + (row - from) * kKeys, start + key, some, own);
      add_products<kTile>(to - from, scores, kKeys, along, width_, some, width_,
                          sum_ + from * width_, width_);
    }
  }

  // `some` keys as columns (d, kKeys) and values as rows (some, width), float32, padded with 0.
  template <class F>
  void gather(const F* keys, const F* values, int64_t stride, int64_t some, float* across,
              float* along) const {
    std::memset(across, 0, call_.dim * kKeys * sizeof(float));
    for (int64_t key = 0; key < some; ++key) {
      float* row = along + key * width_;
      widen(keys + key * stride, row);
      for (int64_t i = 0; i < call_.dim; ++i) across[i * kKeys + key] = row[i];
      widen(values + key * stride, row);
    }
  }

  template <class F>
  void widen(const F* from, float* to) const {
    int64_t i = 0;
    for (; i + kW <= call_.dim; i += kW) Vec::load(from + i).store(to + i);
    for (; i < call_.dim; ++i) to[i] = to_float(from[i]);
    for (; i < width_; ++i) to[i] = 0;
  }

  // Scores → weights, 0 where the row must not look; rescales what it has seen before.
  void weigh(int64_t row, float* scores, int64_t start, int64_t some, bool own) {
    const int64_t here = position(row);
    int64_t first = 0, last = some;
    if (own && here - start + 1 < last) last = here - start + 1 > 0 ? here - start + 1 : 0;
    if (call_.window && here - call_.window + 1 > start) first = here - call_.window + 1 - start;
    float highest = highest_[row];
    for (int64_t i = first; i < last; ++i) {
      if (call_.softcap > 0) scores[i] = std::tanh(scores[i] / call_.softcap) * call_.softcap;
      // Not std::max: NaN must go on to the result, not be lost in a comparison.
      if (!(scores[i] <= highest)) highest = scores[i];
    }
    if (first >= last) {
      std::memset(scores, 0, kKeys * sizeof(float));
      return;
    }
    const float shrink = std::exp(highest_[row] - highest);
    if (shrink != 1) {
      float* sum = sum_ + row * width_;
      for (int64_t i = 0; i < width_; ++i) sum[i] *= shrink;
      total_[row] *= shrink;
      highest_[row] = highest;
    }
    for (int64_t i = 0; i < kKeys; ++i) {
      scores[i] = i >= first && i < last ? std::exp(scores[i] - highest) : 0;
      total_[row] += scores[i];
    }
  }

  void finish(int64_t row) {
    const float share = 1 / total_[row];
    for (int64_t i = 0; i < call_.dim; ++i)
      call_.y[head(row) * call_.dim + i] = sum_[row * width_ + i] * share;
  }

  const Attend& call_;
  int64_t group_, first_, rows_, kv_, example_, width_;
  float query_[kAttendRows * (kMaxHeadDim + kCols)];
  float sum_[kAttendRows * (kMaxHeadDim + kCols)];
  float highest_[kAttendRows], total_[kAttendRows];
};

void attend_unit(void* task, int64_t index) { AttendUnit(*static_cast<Attend*>(task), index).run(); }

// Rotates the new keys of one example in one lane, before any unit looks at them.
void rotate_unit(void* task, int64_t index) {
  const Attend& call = *static_cast<const Attend*>(task);
  const int64_t example = index % call.batch;
  for (int64_t t = 0; t < call.length; ++t) {
    const int64_t angle = (example * call.length + t) * call.rotated;
    for (int64_t kv = 0; kv < call.kv_heads; ++kv) {
      const int64_t at = ((index * call.length + t) * call.kv_heads + kv) * call.dim;
      rotate(call.k + at, call.cos + angle, call.sin + angle, call.rotated, call.dim, 1,
             call.new_keys + at);
    }
  }
}

}  // namespace
}  // namespace dsa
