// Gates that need no training: prompts that are alike share blocks (dsa_edge/clusters.py).
//
// Pooled states are (E, D), row-major. All but the singular vectors is computed in numpy's order;
// these agree with LAPACK's to about 1e-13, so that gates do to a rounding of float32.
#pragma once

#include "principal.h"
#include "records.h"

namespace dsa::learn {

constexpr size_t kFeatures = kDirections + 1;  // F: and what all prompts share

// Block i serves the i-th cluster of spherical k-means, the largest first; with centres anywhere.
Gate clustered(const Floats& pooled, size_t width, size_t blocks, uint64_t seed);
Gate scattered(const Floats& pooled, size_t width, size_t blocks, uint64_t seed);

// Directions (F, D + 1) in which prompts differ, and what all share.
Doubles differences(const Floats& pooled, size_t width);

// What a gate's amounts of directions multiply: (E, F).
Doubles features(const Floats& pooled, const Doubles& directions, size_t width);

// How evenly blocks serve: 1 where all serve alike, 0 where one serves all.
double evenness(const std::vector<int64_t>& served);

}  // namespace dsa::learn
