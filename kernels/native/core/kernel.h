// The kernel of one instruction set, compiled once for each: isa_*.cpp define `Vec` and include
// this file. A unit is up to kUnitRows rows; nothing is allocated.
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
inline void down_step(Vec (&sum)[kPhases][kRows][kVectors], int phase,
                      const float* const (&x)[kRows], int64_t i, const F* v) {
  Vec columns[kVectors];
  for (int j = 0; j < kVectors; ++j) columns[j] = Vec::load(v + j * kW);
  for (int m = 0; m < kRows; ++m) {
    const Vec value = Vec::all(x[m][i]);
    for (int j = 0; j < kVectors; ++j) sum[phase][m][j].add_product(value, columns[j]);
  }
}

// down (kRows, stride) = x · v for all columns; stride is the rank rounded up to whole tiles.
template <class F, int kRows>
void multiply_down(const float* const* rows, const F* v, int64_t n_in, int64_t rank, int64_t stride,
                   float* down) {
  const float* x[kRows];  // in registers: the compiler cannot know that nobody writes to `rows`
  for (int m = 0; m < kRows; ++m) x[m] = rows[m];
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

template <class F, int kRows>
inline void up_step(Vec (&sum)[kRows][kVectors], const float* mixed, int64_t stride, const F* u) {
  Vec columns[kVectors];
  for (int j = 0; j < kVectors; ++j) columns[j] = Vec::load(u + j * kW);
  for (int m = 0; m < kRows; ++m) {
    const Vec value = Vec::all(mixed[m * stride]);
    for (int j = 0; j < kVectors; ++j) sum[m][j].add_product(value, columns[j]);
  }
}

// A whole tile of columns of y = from + mixed · u.
template <class F, int kRows>
inline void up_columns(const float* const* from, float* const* to, int64_t o, const float* mixed,
                       int64_t stride, const F* u, int64_t n_out, int64_t rank) {
  Vec sum[kRows][kVectors];
  for (int m = 0; m < kRows; ++m)
    for (int j = 0; j < kVectors; ++j) sum[m][j] = Vec::load(from[m] + o + j * kW);
  for (int64_t k = 0; k < rank; ++k) up_step(sum, mixed + k, stride, u + k * n_out + o);
  for (int m = 0; m < kRows; ++m)
    for (int j = 0; j < kVectors; ++j) sum[m][j].store(to[m] + o + j * kW);
}

// The last `count` < kCols columns: rows of base, u and y end inside a tile.
template <class F, int kRows>
void up_last(const float* const* from, float* const* to, int64_t o, const float* mixed,
             int64_t stride, const F* u, int64_t n_out, int64_t rank, int64_t count) {
  Vec sum[kRows][kVectors];
  for (int m = 0; m < kRows; ++m) {
    const Edge<float> edge(from[m] + o, count);
    for (int j = 0; j < kVectors; ++j) sum[m][j] = Vec::load(edge.data + j * kW);
  }
  for (int64_t k = 0; k < rank; ++k) {
    const Edge<F> edge(u + k * n_out + o, count);
    up_step(sum, mixed + k, stride, edge.data);
  }
  for (int m = 0; m < kRows; ++m) {
    float out[kCols];
    for (int j = 0; j < kVectors; ++j) sum[m][j].store(out + j * kW);
    std::memcpy(to[m] + o, out, count * sizeof(float));
  }
}

template <class F, int kRows>
void multiply_up(const float* const* from, float* const* to, const float* mixed, int64_t stride,
                 const F* u, int64_t n_out, int64_t rank) {
  int64_t o = 0;
  for (; o + kCols <= n_out; o += kCols)
    up_columns<F, kRows>(from, to, o, mixed, stride, u, n_out, rank);
  if (o < n_out) up_last<F, kRows>(from, to, o, mixed, stride, u, n_out, rank, n_out - o);
}

// The trained part between the factors: a row's core, transposed where that is worth a copy.
class Mixer {
 public:
  Mixer(const GatedLowrank& call, int64_t block) : call_(call), block_(block) {}

  void mix(int64_t index, float weight, const float* down, float* mixed) {
    const int64_t rank = call_.rank;
    if (call_.diagonal) {
      const float* diagonal = core(index);
      for (int64_t c = 0; c < rank; ++c) mixed[c] = weight * diagonal[c] * down[c];
    } else if (rank <= kTransposedRank) {
      transpose(index);
      for (int64_t c = 0; c < rank; c += kCols) {
        Vec sum[kVectors];
        for (Vec& each : sum) each = Vec::all(0);
        for (int64_t d = 0; d < rank; ++d) {
          const Vec value = Vec::all(weight * down[d]);
          for (int j = 0; j < kVectors; ++j)
            sum[j].add_product(value, Vec::load(transposed_ + d * kTransposedRank + c + j * kW));
        }
        for (int j = 0; j < kVectors; ++j) sum[j].store(mixed + c + j * kW);
      }
    } else {
      for (int64_t c = 0; c < rank; ++c) {
        float sum = 0;
        for (int64_t d = 0; d < rank; ++d) sum += core(index)[c * rank + d] * down[d];
        mixed[c] = weight * sum;
      }
    }
  }

 private:
  const float* core(int64_t index) const {
    const int64_t size = call_.diagonal ? call_.rank : call_.rank * call_.rank;
    return call_.core + (index * call_.blocks + block_) * size;
  }

  void transpose(int64_t index) {  // rows come core by core, so one copy serves several
    if (index == copied_) return;
    copied_ = index;
    const float* from = core(index);
    const int64_t rank = call_.rank;
    const int64_t padded = (rank + kCols - 1) / kCols * kCols;
    for (int64_t d = 0; d < rank; ++d)
      for (int64_t c = 0; c < padded; ++c)
        transposed_[d * kTransposedRank + c] = c < rank ? from[c * rank + d] : 0;
  }

  const GatedLowrank& call_;
  int64_t block_, copied_ = -1;
  float transposed_[kTransposedRank * kTransposedRank];  // rows as wide as whole tiles
};

template <class F, int kRows>
void tile(const GatedLowrank& call, const Rows& rows, int64_t first, Mixer& mixer, const F* u,
          const F* v) {
  constexpr int64_t kStride = kMaxRank + kCols;
  float down[kRows * kStride], mixed[kRows * kStride];
  const int64_t stride = (call.rank + kCols - 1) / kCols * kCols;
  multiply_down<F, kRows>(rows.x + first, v, call.n_in, call.rank, stride, down);
  for (int m = 0; m < kRows; ++m)
    mixer.mix(rows.core[first + m], rows.weight[first + m], down + m * stride, mixed + m * stride);
  multiply_up<F, kRows>(rows.from + first, rows.to + first, mixed, stride, u, call.n_out,
                        call.rank);
}

template <class F, int kRows = kTile>
void tile_of(int64_t height, const GatedLowrank& call, const Rows& rows, int64_t first,
             Mixer& mixer, const F* u, const F* v) {
  if (height == kRows) return tile<F, kRows>(call, rows, first, mixer, u, v);
  if constexpr (kRows > 1) tile_of<F, kRows - 1>(height, call, rows, first, mixer, u, v);
}

template <class F>
void run_block(const GatedLowrank& call, int64_t block, const Rows& rows) {
  Mixer mixer(call, block);
  const int64_t own = call.factors > 1 ? block : 0;
  const F* u = static_cast<const F*>(call.u) + own * call.rank * call.n_out;
  const F* v = static_cast<const F*>(call.v) + own * call.n_in * call.rank;
  for (int64_t row = 0; row < rows.count;) {  // 8 rows are 4 and 4: 6 and 2 would take longer
    const int64_t left = rows.count - row, tiles = (left + kTile - 1) / kTile;
    const int64_t height = (left + tiles - 1) / tiles;
    tile_of(height, call, rows, row, mixer, u, v);
    row += height;
  }
}

void unit(void* task, int64_t index) {
  const GatedLowrank& call = *static_cast<const GatedLowrank*>(task);
  const Unit part(call, index);
  part.copy_untouched();
  for (int64_t block = 0; block < call.blocks; ++block) {
    const Rows rows = part.rows_of(block);
    if (!rows.count) continue;  // an unchosen block costs nothing
    if (call.half)
      run_block<Half>(call, block, rows);
    else
      run_block<float>(call, block, rows);
  }
}

}  // namespace
}  // namespace dsa
