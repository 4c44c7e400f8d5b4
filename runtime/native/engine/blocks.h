// The adapter as inputs of the layer programs: cores from the flat vector, factors from a file.
#pragma once

#include "core/bundle.h"
#include "core/safetensors.h"
#include "engine/arrays.h"
#include "engine/program.h"

namespace dsa {

class Blocks {
 public:
  explicit Blocks(const Bundle& bundle);  // raises Error(bundle)

  void reserve(int64_t lanes);  // more of them allocate

  // Appends what a layer's program takes of the adapter.
  // slots: the layer's part of (L, n), `stride` numbers from lane to lane; null for no adapter.
  void of_layer(int64_t layer, const float* slots, int64_t lanes, int64_t stride,
                std::vector<Array>& inputs);

 private:
  struct Frozen {
    std::vector<const TensorView*> parts;  // of one layer, in the programs' order
  };
  const TensorView& part(const std::string& name) const;
  void own(int64_t layer, const float* slots, int64_t lanes, int64_t stride,
           std::vector<Array>& inputs);
  void cores(int64_t layer, const float* slots, int64_t lanes, int64_t stride,
             std::vector<Array>& inputs);
  void append(const TensorView& tensor, std::vector<Array>& inputs) const;

  const Manifest& manifest_;
  const bool own_;
  Safetensors file_;
  std::vector<Frozen> adapted_;  // by layer from the split on
  Frozen none_;                  // of a layer without adapter
  std::vector<int64_t> place_;   // of each target among those that carry a core, or -1
  Floats kept_;
};

}  // namespace dsa
