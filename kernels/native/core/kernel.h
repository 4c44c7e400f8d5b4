// The kernel of one instruction set, compiled once for each: isa_*.cpp define `Vec` and include
// this file. A unit is up to kUnitRows rows of one lane; nothing is allocated.
//
//   down  (m, r)     = x (m, n_in) · v (n_in, r)          m ≤ kTile rows share each load of v
//   mixed (m, r)     = weight · down · coreᵀ
//   y     (m, n_out) = base + mixed · u (r, n_out)
//
// Loads at the end of a row run on into the next one and their surplus is dropped; only where the
// buffer itself ends are they copied first.

#include <cstring>

#include "gated_lowrank.h"
#include "unit.h"

namespace dsa {
namespace {

constexpr int kW = Vec::kWidth;
constexpr int kCols = kVectors * kW;     // columns of a tile
constexpr int64_t kTransposedRank = 64;  // larger cores are mixed without a transposed copy

// `count` < kCols elements of a buffer that ends there, as a full tile's worth of columns.
template <class F>
struct Edge {
  F data[kCols];
  Edge(const F* from, int64_t count) : data{} { std::memcpy(data, from, count * sizeof(F)); }
};

template <class F, int kPhases, int kRows>
inline void down_step(Vec (&sum)[kPhases][kRows][kVectors], int phase, const float* const* x,
                      int64_t i, const F* v) {
  Vec columns[kVectors];
  for (int j = 0; j < kVectors; ++j) columns[j] = Vec::load(v + j * kW);
  for (int m = 0; m < kRows; ++m) {
    const Vec value = Vec::all(x[m][i]);
    for (int j = 0; j < kVectors; ++j) sum[phase][m][j].add_product(value, columns[j]);
  }
}

// down (kRows, stride) = x · v for all columns; stride is the rank rounded up to whole tiles.
template <class F, int kRows>
void multiply_down(const float* const* x, const F* v, int64_t n_in, int64_t rank, int64_t stride,
                   float* down) {
  constexpr int kPhases = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;  // hides the latency of one sum
  const int64_t end = n_in * rank;
  for (int64_t c = 0; c < rank; c += kCols) {
    Vec sum[kPhases][kRows][kVectors];
    for (auto& phase : sum)
      for (auto& row : phase)
        for (auto& each : row) each = Vec::all(0);
    int64_t safe = n_in;  // rows whose loads stay inside the buffer
    while (safe > 0 && (safe - 1) * rank + c + kCols > end) --safe;
    int64_t i = 0;
    for (; i + kPhases <= safe; i += kPhases)
      for (int phase = 0; phase < kPhases; ++phase)
        down_step(sum, phase, x, i + phase, v + (i + phase) * rank + c);
    for (; i < safe; ++i) down_step(sum, 0, x, i, v + i * rank + c);
    for (; i < n_in; ++i) {
      const Edge<F> edge(v + i * rank + c, end - (i * rank + c));
      down_step(sum, 0, x, i, edge.data);
    }
    for (int m = 0; m < kRows; ++m)
      for (int j = 0; j < kVectors; ++j) {
        for (int phase = 1; phase < kPhases; ++phase) sum[0][m][j].add(sum[phase][m][j]);
        sum[0][m][j].store(down + m * stride + c + j * kW);
      }
  }
}

// One tile of columns of y = from + mixed · u.
template <class F, int kRows>
inline void up_columns(const float* const* from, float* const* to, const float* mixed,
                       int64_t stride, const F* u, int64_t n_out, int64_t rank, int64_t count) {
  Vec sum[kRows][kVectors];
  for (int m = 0; m < kRows; ++m) {
    if (count < kCols) {
      const Edge<float> edge(from[m], count);
      for (int j = 0; j < kVectors; ++j) sum[m][j] = Vec::load(edge.data + j * kW);
    } else {
      for (int j = 0; j < kVectors; ++j) sum[m][j] = Vec::load(from[m] + j * kW);
    }
  }
  for (int64_t k = 0; k < rank; ++k) {
    Vec columns[kVectors];
    const int64_t left = (rank - k - 1) * n_out + count;  // elements up to the buffer's end
    if (left < kCols) {
      const Edge<F> edge(u + k * n_out, left);
      for (int j = 0; j < kVectors; ++j) columns[j] = Vec::load(edge.data + j * kW);
    } else {
      for (int j = 0; j < kVectors; ++j) columns[j] = Vec::load(u + k * n_out + j * kW);
    }
    for (int m = 0; m < kRows; ++m) {
      const Vec value = Vec::all(mixed[m * stride + k]);
      for (int j = 0; j < kVectors; ++j) sum[m][j].add_product(value, columns[j]);
    }
  }
  for (int m = 0; m < kRows; ++m) {
    float out[kCols];
    float* target = count < kCols ? out : to[m];
    for (int j = 0; j < kVectors; ++j) sum[m][j].store(target + j * kW);
    if (count < kCols) std::memcpy(to[m], out, count * sizeof(float));
  }
}

template <class F, int kRows>
void multiply_up(const float* const* from, float* const* to, const float* mixed, int64_t stride,
                 const F* u, int64_t n_out, int64_t rank) {
  for (int64_t o = 0; o < n_out; o += kCols) {
    const float* sources[kRows];
    float* targets[kRows];
    for (int m = 0; m < kRows; ++m) {
      sources[m] = from[m] + o;
      targets[m] = to[m] + o;
    }
    const int64_t count = n_out - o < kCols ? n_out - o : kCols;
    // The bound on `left` counts from this column: only the last of all loads can pass the end.
    up_columns<F, kRows>(sources, targets, mixed, stride, u + o, n_out, rank,
                         count < kCols ? count : kCols);
  }
}

// The trained part between the factors, for one row; `transposed` is coreᵀ or null.
void mix(const GatedLowrank& call, const float* core, const float* transposed, float weight,
         const float* down, float* mixed) {
  const int64_t rank = call.rank;
  if (call.diagonal) {
    for (int64_t c = 0; c < rank; ++c) mixed[c] = weight * core[c] * down[c];
  } else if (transposed) {
    for (int64_t c = 0; c < rank; ++c) mixed[c] = 0;
    for (int64_t d = 0; d < rank; ++d) {
      const float value = weight * down[d];
      for (int64_t c = 0; c < rank; ++c) mixed[c] += value * transposed[d * rank + c];
    }
  } else {
    for (int64_t c = 0; c < rank; ++c) {
      float sum = 0;
      for (int64_t d = 0; d < rank; ++d) sum += core[c * rank + d] * down[d];
      mixed[c] = weight * sum;
    }
  }
}

template <class F, int kRows>
void tile(const GatedLowrank& call, const Rows& rows, int64_t first, const float* core,
          const float* transposed, const F* u, const F* v) {
  constexpr int64_t kStride = kMaxRank + kCols;
  float down[kRows * kStride], mixed[kRows * kStride];
  const int64_t stride = (call.rank + kCols - 1) / kCols * kCols;
  multiply_down<F, kRows>(rows.x + first, v, call.n_in, call.rank, stride, down);
  for (int m = 0; m < kRows; ++m)
    mix(call, core, transposed, rows.weight[first + m], down + m * stride, mixed + m * stride);
  multiply_up<F, kRows>(rows.from + first, rows.to + first, mixed, stride, u, call.n_out,
                        call.rank);
}

template <class F, int kRows>
void tiles(const GatedLowrank& call, const Rows& rows, int64_t first, const float* core,
           const float* transposed, const F* u, const F* v) {
  for (; first + kRows <= rows.count; first += kRows)
    tile<F, kRows>(call, rows, first, core, transposed, u, v);
  if constexpr (kRows > 1)
    tiles<F, kRows - 1>(call, rows, first, core, transposed, u, v);
}

template <class F>
void run_block(const GatedLowrank& call, int64_t lane, int64_t block, const Rows& rows) {
  const int64_t rank = call.rank, size = call.diagonal ? rank : rank * rank;
  const float* core = call.core + (lane * call.blocks + block) * size;
  float transposed[kTransposedRank * kTransposedRank];
  const bool copy = !call.diagonal && rank <= kTransposedRank;
  if (copy)
    for (int64_t c = 0; c < rank; ++c)
      for (int64_t d = 0; d < rank; ++d) transposed[d * rank + c] = core[c * rank + d];
  const F* u = static_cast<const F*>(call.u) + block * rank * call.n_out;
  const F* v = static_cast<const F*>(call.v) + block * call.n_in * rank;
  tiles<F, kTile>(call, rows, 0, core, copy ? transposed : nullptr, u, v);
}

void unit(void* task, int64_t index) {
  const GatedLowrank& call = *static_cast<const GatedLowrank*>(task);
  const Unit part(call, index);
  part.copy_untouched();
  for (int64_t block = 0; block < call.blocks; ++block) {
    const Rows rows = part.rows_of(block);
    if (!rows.count) continue;  // an unchosen block costs nothing
    if (call.half)
      run_block<Half>(call, part.lane, block, rows);
    else
      run_block<float>(call, part.lane, block, rows);
  }
}

}  // namespace
}  // namespace dsa
