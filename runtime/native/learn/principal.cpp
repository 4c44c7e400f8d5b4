#include "principal.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sums.h"

namespace dsa::learn {
namespace {

constexpr double kNothing = 1e-6;  // of the largest: less is rounding
constexpr double kDone = 1e-15;    // cosine of two rows that count as orthogonal
constexpr int kSweeps = 40;        // at most; it takes about eight

double dot(const double* a, const double* b, size_t count) {
  double total = 0;
  for (size_t i = 0; i < count; ++i) total += a[i] * b[i];
  return total;
}

// Of columns of (E, D).
Doubles column_means(const Doubles& rows, size_t width) {
  Doubles means(width);
  for (size_t i = 0; i < rows.size(); ++i) means[i % width] += rows[i];
  for (double& each : means) each /= static_cast<double>(rows.size() / width);
  return means;
}

Doubles column_scales(const Doubles& rows, const Doubles& means) {
  Doubles apart(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const double from = rows[i] - means[i % means.size()];
    apart[i] = from * from;
  }
  Doubles scales = column_means(apart, means.size());
  for (double& each : scales) each = std::sqrt(each);
  const double most = *std::max_element(scales.begin(), scales.end());
  for (double& each : scales) each = each > kNothing * most ? 1 / each : 0;
  return scales;
}

// The triangle R (D, D) of rows (E, D) with E > D, by Householder's reflections: it has the same
// right singular vectors.
Doubles triangle(Doubles a, size_t width) {
  const size_t rows = a.size() / width;
  Doubles v(rows), along(width);
  for (size_t c = 0; c < width; ++c) {
    for (size_t r = c; r < rows; ++r) v[r] = a[r * width + c];
    const double length = std::sqrt(dot(&v[c], &v[c], rows - c));
    v[c] += v[c] < 0 ? -length : length;
    const double square = dot(&v[c], &v[c], rows - c);
    if (square == 0) continue;
    std::fill(along.begin(), along.end(), 0.0);
    for (size_t r = c; r < rows; ++r)
      for (size_t k = c; k < width; ++k) along[k] += v[r] * a[r * width + k];
    for (size_t r = c; r < rows; ++r)
      for (size_t k = c; k < width; ++k) a[r * width + k] -= 2 * v[r] / square * along[k];
  }
  a.resize(width * width);
  for (size_t r = 0; r < width; ++r)
    std::fill_n(a.begin() + static_cast<std::ptrdiff_t>(r * width), r, 0.0);
  return a;
}

// Turns two rows until they are orthogonal; false where they are.
bool turn(double* a, double* b, size_t width, double least) {
  const double aa = dot(a, a, width), bb = dot(b, b, width), ab = dot(a, b, width);
  if (aa <= least || bb <= least || std::fabs(ab) <= kDone * std::sqrt(aa * bb)) return false;
  const double zeta = (bb - aa) / (2 * ab);
  const double t = (zeta < 0 ? -1 : 1) / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta));
  const double c = 1 / std::sqrt(1 + t * t), s = c * t;
  for (size_t i = 0; i < width; ++i) {
    const double x = a[i], y = b[i];
    a[i] = c * x - s * y, b[i] = s * x + c * y;
  }
  return true;
}

// Rows of (E, D) become singular values times right singular vectors (one-sided Jacobi, Hestenes
// 1958), in no order.
void orthogonalize(Doubles& a, size_t width) {
  const size_t rows = a.size() / width;
  const double least = 1e-30 * dot(a.data(), a.data(), a.size());
  bool turned = true;
  for (int sweep = 0; turned && sweep < kSweeps; ++sweep) {
    turned = false;
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = i + 1; j < rows; ++j)
        turned = turn(&a[i * width], &a[j * width], width, least) || turned;
  }
}

// Unit rows of the largest singular values, as many as are more than rounding, at least one.
Doubles leading(const Doubles& units, size_t width) {
  Doubles a = units.size() / width > width ? triangle(units, width) : units;
  orthogonalize(a, width);
  const size_t rows = a.size() / width;
  Doubles length(rows), found;
  for (size_t r = 0; r < rows; ++r) length[r] = std::sqrt(dot(&a[r * width], &a[r * width], width));
  std::vector<size_t> order(rows);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return length[x] > length[y]; });
  for (size_t k = 0; k < std::min(rows, kDirections); ++k) {
    if (k && !(length[order[k]] > kNothing * length[order[0]])) break;
    const double* row = &a[order[k] * width];
    const double most = *std::max_element(
        row, row + width, [](double x, double y) { return std::fabs(x) < std::fabs(y); });
    const double by = length[order[k]] > 0 ? std::copysign(1 / length[order[k]], most) : 0;
    for (size_t i = 0; i < width; ++i) found.push_back(row[i] * by);
  }
  return found;
}

}  // namespace

Principal::Principal(const Doubles& states, size_t width)
    : mean(column_means(states, width)), scale(column_scales(states, mean)) {
  Doubles units = scaled(states);
  make_unit(units, width);
  directions = leading(units, width);
  count = directions.size() / width;
}

Doubles Principal::scaled(const Doubles& states) const {
  Doubles made(states.size());
  for (size_t i = 0; i < states.size(); ++i)
    made[i] = (states[i] - mean[i % mean.size()]) * scale[i % mean.size()];
  return made;
}

void make_unit(Doubles& rows, size_t width) {
  Doubles squares(width);
  for (size_t first = 0; first < rows.size(); first += width) {
    for (size_t i = 0; i < width; ++i) squares[i] = rows[first + i] * rows[first + i];
    const double length = std::sqrt(sum(squares.data(), width));
    for (size_t i = 0; length > 0 && i < width; ++i) rows[first + i] /= length;
  }
}

Doubles products(const Doubles& a, const Doubles& b, size_t width) {
  Doubles made, terms(width);
  made.reserve(a.size() / width * (b.size() / width));
  for (size_t i = 0; i < a.size(); i += width)
    for (size_t j = 0; j < b.size(); j += width) {
      for (size_t k = 0; k < width; ++k) terms[k] = a[i + k] * b[j + k];
      made.push_back(sum(terms.data(), width));
    }
  return made;
}

}  // namespace dsa::learn
