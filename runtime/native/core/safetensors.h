// safetensors files: named tensors, and what is said of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/file.h"

namespace dsa {

struct TensorView {
  std::string dtype;  // "F32", "F16", "I64", …
  std::vector<int64_t> shape;
  const uint8_t* data;
  size_t bytes;

  int64_t size() const;  // numbers in it
  const float* floats() const { return reinterpret_cast<const float*>(data); }
};

class Safetensors {
 public:
  // Raises Error of the kind that `what` stands for, for files that are no safetensors.
  Safetensors(const std::string& path, Reads what);

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const TensorView* find(const std::string& name) const;

  // A tensor of that type and shape. Raises Error where there is none.
  const TensorView& get(const std::string& name, const char* dtype,
                        const std::vector<int64_t>& shape) const;

 private:
  void parse();
  [[noreturn]] void refuse(const std::string& why) const;

  std::string path_;
  Reads what_;
  Mapped file_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, TensorView> tensors_;
};

// The bytes of a file with these float32 tensors.
struct Floats32 {
  std::string name;
  std::vector<int64_t> shape;
  const float* data;
};
std::string safetensors_of(const std::vector<Floats32>& tensors,
                           const std::map<std::string, std::string>& metadata);

}  // namespace dsa
